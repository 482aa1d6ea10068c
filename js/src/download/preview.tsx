/** What is known of the chosen SAE before its weights are fetched, and what to know before fetching them. */
import type { ComponentChildren } from "preact";
import { asksConvention, Convention } from "../lib/convention";
import * as f from "../lib/format";
import { Facts as Pairs } from "../lib/table";
import type { HubPreviewData, VariantRow } from "../lib/wire";
import { type Finding, toFetch } from "./listing";
import { LoadOn } from "./load-on";
import { FailedNote } from "./problems";
import type { Store } from "./store";
import { Warnings } from "./warnings";
import { cacheWords, fitWords, folderOf, formatWords, guessSource, memoryOn, widthWords } from "./words";

interface PaneProps {
  store: Store;
  finding: Finding;
  /** The chosen SAEs; the preview is of one of them. */
  rows: readonly VariantRow[];
}

export function PreviewPane({ store, finding, rows }: PaneProps) {
  const current = finding.current.value;
  const preview = finding.preview.value;
  if (current === null) return null;
  const { answer } = store;
  const asks = [finding.previewFailed.value, ...(preview?.warnings ?? [])].some(asksConvention);
  const convention = asks && (
    <div class="look-notes line">
      <Convention
        value={answer.value}
        onChange={(value) => {
          answer.value = value;
        }}
      />
    </div>
  );
  if (finding.previewFailed.value) {
    return (
      <>
        <FailedNote
          failed={finding.previewFailed.value}
          busy={finding.previewing.value}
          again={() => void finding.look(true)}
        />
        {convention}
      </>
    );
  }
  return (
    <>
      <div class="est look line" aria-busy={finding.previewing.value}>
        <Facts finding={finding} row={current} preview={preview} several={rows.length > 1} />
        {preview ? (
          <>
            <Memory store={store} finding={finding} preview={preview} rows={rows} />
            <Fetch preview={preview} rows={rows} />
          </>
        ) : (
          <p class="sm t2">Reading its configuration and headers…</p>
        )}
      </div>
      {preview && <Warnings store={store} finding={finding} preview={preview} rows={rows} />}
      {convention}
    </>
  );
}

interface FactsProps {
  finding: Finding;
  row: VariantRow;
  preview: HubPreviewData | null;
  several: boolean;
}

function Facts({ finding, row, preview, several }: FactsProps) {
  const repo = finding.repository(row);
  const model = preview?.model ?? repo?.base_models[0] ?? null;
  const gated = preview?.gated_model ?? null;
  const lines: [string, ComponentChildren][] = [
    [
      several ? "Shown" : "SAE",
      <code key="path" class="wrap">
        {row.path || repo?.repo_id || folderOf(row.path)}
      </code>,
    ],
  ];
  if (preview) {
    lines.push(["Architecture", [preview.architecture ?? "only the weights tell", dimensions(preview, row)].join("")]);
    lines.push(["Format", formatWords(preview.format)]);
  }
  if (model) {
    lines.push([
      "Base model",
      <>
        {model}
        {gated === true && <span class="bg">gated</span>}
        {gated === false && <span class="t2"> (open)</span>}
        {preview && gated === null && <span class="t2"> (not known whether it is gated)</span>}
      </>,
    ]);
  }
  if (preview?.hook_name) lines.push(["Hook name", <code key="hook">{preview.hook_name}</code>]);
  if (repo) {
    const day = repo.last_modified === null ? "" : `, ${date(repo.last_modified)}`;
    lines.push([
      "Revision",
      <>
        <code title={repo.revision}>{repo.revision.slice(0, 7)}</code>
        {day}
      </>,
    ]);
  }
  return <Pairs facts={lines} />;
}

/** ", d_sae 16,384 × d_in 2,304"; where the files do not tell yet, what the names say, marked as that. */
function dimensions({ d_sae, d_in, d_out }: HubPreviewData, row: VariantRow): string {
  if (d_sae === null || d_in === null) {
    const source = guessSource(row);
    return source ? `, d_sae ${widthWords(row)}, ${source}` : "";
  }
  const out = d_out !== null && d_out !== d_in ? ` → ${f.count(d_out)}` : "";
  return `, d_sae ${f.count(d_sae)} × d_in ${f.count(d_in)}${out}`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** "14 Mar 2025" */
function date(unix: number): string {
  const at = new Date(unix * 1000);
  return `${at.getDate()} ${MONTHS[at.getMonth()]} ${at.getFullYear()}`;
}

interface MemoryProps {
  store: Store;
  finding: Finding;
  preview: HubPreviewData;
  rows: readonly VariantRow[];
}

/** What the SAE that is shown takes; of several it is the size of each only if they are of one size. */
function memoryWords(rows: readonly VariantRow[]): string {
  if (rows.length < 2) return "Memory";
  return rows.every((row) => row.size_bytes === rows[0]?.size_bytes) ? "Memory each" : "Memory of the one shown";
}

function Memory({ store, finding, preview, rows }: MemoryProps) {
  const device = store.state.value.devices.find((one) => one.id === finding.deviceId());
  const { bytes, dtype } = memoryOn(preview, finding.deviceId());
  const warned = preview.warnings.some((warning) => warning.kind === "memory");
  return (
    <div class="sm cell">
      <b>{memoryWords(rows)}</b> {bytes === null ? "known once it is loaded" : `${f.bytes(bytes)} ${dtype}`}
      <p class="t2">{fitWords(preview, device)}</p>
      {!warned && <LoadOn store={store} finding={finding} preview={preview} />}
    </div>
  );
}

function Fetch({ preview, rows }: { preview: HubPreviewData; rows: readonly VariantRow[] }) {
  const all = rows.length > 1 ? toFetch(rows) : preview.download_bytes;
  const cached = rows.filter((row) => row.cached).length;
  const words =
    rows.length > 1
      ? [
          `${rows.length} SAEs${cached > 0 ? `, ${cached} of them cached` : ""}`,
          preview.disk_free_bytes === null ? "" : `; ${f.wholeBytes(preview.disk_free_bytes)} of disk free`,
        ].join("")
      : cacheWords(preview);
  return (
    <div class="sm cell">
      <b>Download</b> {f.bytes(all)}
      <p class="t2">{words}</p>
    </div>
  );
}
