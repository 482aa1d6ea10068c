/** What the download widget says: words and buttons derived from the data. Pure functions. */
import * as f from "../lib/format";
import {
  buttonsOf,
  isActive,
  type JobButton,
  queueWords,
  type Status,
  statusOf,
  statusWord,
  underWay,
} from "../lib/statuses";
import * as wire from "../lib/wire";

const ROOT = "(root)"; // the folder of an SAE that lies at the top of its repository

export const folderOf = (path: string): string => path || ROOT;

const SITES: Record<string, string> = {
  resid_pre: "Residual, before",
  resid_mid: "Residual, middle",
  resid_post: "Residual",
  mlp_in: "MLP input",
  mlp_out: "MLP output",
  attn_out: "Attention",
  attn_z: "Attention heads",
  hook_z: "Attention heads",
  transcoder: "Transcoder",
  embed: "Embedding",
  embedding: "Embedding",
};

/** A site as people call it; one that is not known here stays as it is. */
export const siteWords = (site: string): string => SITES[site] ?? site;

export const formatWords = (format: string): string => wire.FORMATS[format] ?? format;

/** Bytes per second with three digits: "41.2 MB/s". */
export function rateWords(rate: number): string {
  const [size, unit] = rate >= 1e9 ? [1e9, "GB"] : rate >= 1e6 ? [1e6, "MB"] : [1e3, "kB"];
  const n = rate / (size as number);
  return `${n.toFixed(n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2)} ${unit}/s`;
}

/** Mean active latents: 82, 8.5. */
export const l0Words = (l0: number): string => (Number.isInteger(l0) ? f.count(l0) : String(Number(l0.toPrecision(3))));

type Named = Pick<wire.VariantRow, "d_sae" | "width" | "path">;

/** The width of a listed SAE, of which only names are known: "about 16k", "about 24,576". */
export function widthWords(row: Named): string {
  const named = row.width?.replace(/m$/, "M") ?? (row.d_sae === null ? null : f.count(row.d_sae));
  return named === null ? f.DASH : `about ${named}`;
}

/** Which name says so: "from the folder's name"; undefined where none does. */
export function guessSource(row: Named): string | undefined {
  const said = row.width ?? (row.d_sae === null ? null : String(row.d_sae));
  if (said === null) return undefined;
  return `from the ${row.path.toLowerCase().includes(said) ? "folder" : "repository"}'s name`;
}

// ------------------------------------------------------------------------------------------------ memory and disk

export function memoryOn(preview: wire.Preview, device: string): { bytes: number | null; dtype: string } {
  if (device === "cpu" || device === "" || preview.gpu_bytes === null) {
    return { bytes: preview.memory_bytes, dtype: "float32" };
  }
  return { bytes: preview.gpu_bytes, dtype: preview.dtype ?? "float32" };
}

export const deviceLabel = (preview: wire.Preview, id: string): string => {
  const name = id === "cpu" ? "CPU" : id;
  return `${name}, ${memoryOn(preview, id).dtype}`;
};

/** "fits cuda:0 (6.1 GB free)". */
export function fitWords(preview: wire.Preview, device: wire.DeviceInfo | undefined): string {
  if (!device) return "";
  const name = device.id === "cpu" ? "the CPU" : device.id;
  const { bytes } = memoryOn(preview, device.id);
  if (device.free_bytes === null) return `on ${name}`;
  const free = `${f.bytes(device.free_bytes)} free`;
  if (bytes === null) return `${name} has ${free}`;
  return bytes <= device.free_bytes ? `fits ${name} (${free})` : `does not fit ${name} (${free})`;
}

/** "not cached; 41 GB of disk free". */
export function cacheWords(preview: wire.Preview): string {
  const held = preview.total_bytes - preview.download_bytes;
  const disk = preview.disk_free_bytes === null ? "" : `; ${f.wholeBytes(preview.disk_free_bytes)} of disk free`;
  if (preview.cached) return `all of it is already cached${disk}`;
  return `${held > 0 ? `${f.bytes(held)} already cached` : "not cached"}${disk}`;
}

// ------------------------------------------------------------------------------------------------ downloads

/** A download that was ended is *Cancelled*. */
export const wordFor = (status: Status): string => (status === "stopped" ? "Cancelled" : statusWord(status));

export type CardAction = wire.DownloadAction | "open";

const BUTTONS: Record<Status, readonly CardAction[]> = {
  queued: ["pause", "cancel"],
  running: ["pause", "cancel"],
  paused: ["resume", "cancel"],
  interrupted: ["resume", "cancel"],
  failed: ["retry", "cancel"],
  stopped: ["retry", "clear"],
  completed: ["clear"],
};

export function buttonsFor(card: wire.DownloadCard, canOpen: boolean, pending?: string): JobButton<CardAction>[] {
  const open: CardAction[] = canOpen && card.sae_id !== null ? ["open"] : [];
  const under = underWay(card, pending, "cancel");
  return buttonsOf([...open, ...BUTTONS[statusOf(card)]], under, { open: "Open in SAE browser" });
}

const PHASES: Record<string, string> = {
  looking: "looking at the repository",
  checking: "checking the hash",
  converting: "converting to the SAELens format",
};

/** "trying again in 8 s (retry 2)"; without a wait it is under way. */
function retryWords(attempt: number | null, wait: number | null): string {
  const when = wait === null || wait < 0.5 ? "trying again now" : `trying again in ${f.duration(Math.max(1, wait))}`;
  return attempt === null ? when : `${when} (retry ${f.count(attempt)})`;
}

export function progressLine(card: wire.DownloadCard, live: boolean): string[] {
  const amount = card.bytes_total > 0 ? [f.bytesOf(card.bytes_done, card.bytes_total)] : [];
  switch (statusOf(card)) {
    case "queued":
      return [queueWords(card)];
    case "running": {
      if (card.phase === "retrying" && live) return [...amount, retryWords(card.attempt, card.wait_seconds)];
      const phase = card.phase === null ? undefined : PHASES[card.phase];
      if (phase || !live) return phase ? [...amount, phase] : amount;
      if (card.rate === null || card.rate <= 0) return amount;
      const eta = card.eta_seconds === null ? [] : [`ETA ${f.duration(card.eta_seconds)}`];
      return [...amount, rateWords(card.rate), ...eta, "hash checked at the end"];
    }
    case "paused":
    case "interrupted":
      return [...amount, "Resume continues where it stopped"];
    case "failed":
      return card.bytes_done > 0 ? amount : [];
    case "completed":
      return [...(card.bytes_total > 0 ? [f.bytes(card.bytes_total)] : []), "hash matches", "in your library"];
    case "stopped":
      return ["nothing was added to your library"];
  }
}

export const anythingRuns = (cards: readonly wire.DownloadCard[]): boolean => cards.some(isActive);

export const ended = (cards: readonly wire.DownloadCard[]): wire.DownloadCard[] =>
  cards.filter((card) => ["completed", "stopped"].includes(statusOf(card)));

export const said = (card: wire.DownloadCard): string =>
  statusOf(card) === "running" && card.phase === "retrying" ? "trying again" : wordFor(statusOf(card));
