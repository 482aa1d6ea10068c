import { describe, expect, it } from "vitest";
import { DEVICES, download, preview, row } from "../../demo/hub";
import { columnsOf, searched, toFetch } from "../../src/download/listing";
import * as words from "../../src/download/words";
import { bytesOf, mainDevice } from "../../src/lib/format";
import { statusChanges } from "../../src/lib/statuses";

const SAE = { repo_id: "a/b", revision: "c", path: "" };
const [CPU, CUDA] = DEVICES;
const labels = (status: string, canOpen = true, pending?: "pause" | "cancel" | "clear") =>
  words
    .buttonsFor(download({ status, sae_id: status === "completed" ? "sae_1" : null }), canOpen, pending)
    .map((button) => button.label);

describe("downloads", () => {
  it("offer per status what the specification says", () => {
    expect(labels("running")).toEqual(["Pause", "Cancel"]);
    expect(labels("queued")).toEqual(["Pause", "Cancel"]);
    expect(labels("paused")).toEqual(["Resume", "Cancel"]);
    expect(labels("interrupted")).toEqual(["Resume", "Cancel"]);
    expect(labels("failed")).toEqual(["Retry", "Cancel"]);
    expect(labels("cancelled")).toEqual(["Retry", "Clear"]);
    expect(labels("completed")).toEqual(["Open in SAE browser", "Clear"]);
    expect(labels("completed", false)).toEqual(["Clear"]);
  });

  it("say what is under way", () => {
    expect(labels("pausing")).toEqual(["Pausing…", "Cancel"]);
    expect(labels("stopping")).toEqual(["Cancelling…"]);
    expect(labels("running", true, "pause")).toEqual(["Pausing…", "Cancel"]);
    expect(labels("paused", true, "cancel")).toEqual(["Cancelling…"]);
  });

  it("say bytes, rate and time", () => {
    expect(words.progressLine(download(), true)).toEqual([
      "365 of 537 MB",
      "41.2 MB/s",
      "ETA 4 s",
      "hash checked at the end",
    ]);
    expect(words.progressLine(download(), false)).toEqual(["365 of 537 MB"]);
    expect(words.progressLine(download({ rate: null, phase: "checking" }), true)).toEqual([
      "365 of 537 MB",
      "checking the hash",
    ]);
    expect(words.progressLine(download({ status: "paused" }), true)[1]).toBe("Resume continues where it stopped");
    expect(words.progressLine(download({ status: "queued", queue_position: 2 }), true)).toEqual([
      "number 2 in the queue",
    ]);
    expect(words.progressLine(download({ status: "queued" }), true)).toEqual(["waits for its turn"]);
  });

  it("say that a failure is being tried again, which time, and when", () => {
    const retrying = (wait_seconds: number | null) =>
      words.progressLine(download({ phase: "retrying", rate: null, attempt: 2, wait_seconds }), true)[1];
    expect(retrying(8)).toBe("trying again in 8 s (retry 2)");
    expect(retrying(0)).toBe("trying again now (retry 2)");
    expect(retrying(null)).toBe("trying again now (retry 2)");
    expect(statusChanges([download()], [download({ phase: "retrying" })], words.said)).toEqual([
      "EleutherAI/sae-pythia-410m-65k / layers.6: trying again",
    ]);
    expect(words.said(download({ status: "completed" }))).toBe("Completed");
  });

  it("name bytes once where both have the unit", () => {
    expect(bytesOf(365e6, 537e6)).toBe("365 of 537 MB");
    expect(bytesOf(278e6, 1.21e9)).toBe("278 MB of 1.2 GB");
    expect([1.234e9, 456e6, 41.2e6, 999e3, 12].map(words.rateWords)).toEqual([
      "1.23 GB/s",
      "456 MB/s",
      "41.2 MB/s",
      "999 kB/s",
      "0.01 kB/s",
    ]);
  });
});

describe("memory and disk", () => {
  it("are about the chosen device", () => {
    const found = preview(SAE);
    expect(mainDevice(DEVICES)?.id).toBe("cuda:0");
    expect(words.deviceLabel(found, "cpu")).toBe("CPU, float32");
    expect(words.deviceLabel(found, "cuda:0")).toBe("cuda:0, bfloat16");
    expect(words.fitWords(found, CUDA)).toBe("fits cuda:0 (6.1 GB free)");
    expect(words.fitWords(found, CPU)).toBe("fits the CPU (24.8 GB free)");
    expect(words.fitWords(preview(SAE, { gpu_bytes: 9e9 }), CUDA)).toBe("does not fit cuda:0 (6.1 GB free)");
    expect(words.fitWords(preview(SAE, { memory_bytes: null, gpu_bytes: null }), CUDA)).toBe("cuda:0 has 6.1 GB free");
  });

  it("say what is cached already", () => {
    expect(words.cacheWords(preview(SAE))).toBe("not cached; 41 GB of disk free");
    expect(words.cacheWords(preview(SAE, { download_bytes: 37e6, disk_free_bytes: null }))).toBe(
      "500 MB already cached",
    );
    expect(words.cacheWords(preview(SAE, { cached: true, download_bytes: 0 }))).toContain(
      "all of it is already cached",
    );
  });
});

describe("rows", () => {
  const rows = [
    row({ path: "layer_12/width_16k/average_l0_82", layer: 12, width: "16k", d_sae: 16_384, l0: 82, canonical: true }),
    row({ path: "layer_1/width_1m/average_l0_9", layer: 1, width: "1m", d_sae: 1_048_576, l0: 9, site: "mlp_out" }),
    row({ path: "", layer: null, site: null, d_sae: null, cached: true, format: "saelens" }),
  ];

  it("are found by every word of a search", () => {
    const found = (text: string) => searched(rows, text).map((one) => rows.indexOf(one as (typeof rows)[0]));
    expect(found("")).toEqual([0, 1, 2]);
    expect(found("MLP output")).toEqual([1]);
    expect(found("layer 12 canonical")).toEqual([0]);
    expect(found("16,384")).toEqual([0]);
    expect(found("saelens cached")).toEqual([2]);
    expect(found("(root)")).toEqual([2]);
    expect(found("nothing like it")).toEqual([]);
  });

  it("have columns only where something is to be said", () => {
    expect(columnsOf([row({ site: null, layer: null, d_sae: null })])).toEqual({
      layer: false,
      site: false,
      width: false,
      l0: false,
      format: false,
      badges: false,
    });
    expect(columnsOf(rows)).toEqual({ layer: true, site: true, width: true, l0: true, format: true, badges: true });
  });

  it("mark a width that only names tell", () => {
    const said = (changes: Parameters<typeof row>[0]) => [
      words.widthWords(row(changes)),
      words.guessSource(row(changes)),
    ];
    const path = "layer_12/width_16k/average_l0_82";
    expect(said({ path, d_sae: 16_384, width: "16k" })).toEqual(["about 16k", "from the folder's name"]);
    expect(said({ d_sae: 1_048_576, width: "1m" })).toEqual(["about 1M", "from the repository's name"]);
    expect(said({ path: "resid_pre_24576", d_sae: 24_576 })).toEqual(["about 24,576", "from the folder's name"]);
    expect(said({ d_sae: null })).toEqual(["–", undefined]);
  });

  it("cost nothing where they are cached", () => {
    expect(toFetch([row(), row({ cached: true })])).toBe(537e6);
  });
});
