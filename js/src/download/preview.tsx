/** What is known of the chosen SAE before its weights are fetched, and what to know before fetching them. */
import type { ComponentChildren } from "preact";
import { Button, Cut, NoteBox, type NoteProps } from "../lib/controls";
import * as f from "../lib/format";
import { asksConvention, Convention } from "../lib/forms";
import { flip, into, Linked, Pick } from "../lib/kit";
import { Facts as Pairs } from "../lib/table";
import type { HubWarning, Preview, VariantRow } from "../lib/wire";
import { type Finding, MOST, toFetch } from "./listing";
import { FailedNote, places } from "./problems";
import type { Store } from "./store";
import { cacheWords, deviceLabel, fitWords, folderOf, formatWords, guessSource, memoryOn, widthWords } from "./words";

/** The SAE that is shown, and all that are chosen. */
interface Shown {
  store: Store;
  finding: Finding;
  preview: Preview;
  rows: readonly VariantRow[];
}

export function PreviewPane({ store, finding, rows }: Omit<Shown, "preview">) {
  const current = finding.current.value;
  const { data: preview, problem, busy } = finding.preview.value;
  if (current === null) return null;
  const { answer } = store;
  const asks = [problem, ...(preview?.warnings ?? [])].some(asksConvention);
  const convention = asks && (
    <div class="look-notes line">
      <Convention value={answer.value} onChange={into(answer)} />
    </div>
  );
  if (problem) {
    return (
      <>
        <FailedNote failed={problem} busy={busy} again={() => finding.look(true)} />
        {convention}
      </>
    );
  }
  return (
    <>
      <div class="est look line" aria-busy={busy}>
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
  preview: Preview | null;
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
    const day = repo.last_modified === null ? "" : `, ${f.day(repo.last_modified, 0)}`;
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
function dimensions({ d_sae, d_in, d_out }: Preview, row: VariantRow): string {
  if (d_sae === null || d_in === null) {
    const source = guessSource(row);
    return source ? `, d_sae ${widthWords(row)}, ${source}` : "";
  }
  const out = d_out !== null && d_out !== d_in ? ` → ${f.count(d_out)}` : "";
  return `, d_sae ${f.count(d_sae)} × d_in ${f.count(d_in)}${out}`;
}

/** What the SAE that is shown takes; of several it is the size of each only if they are of one size. */
function memoryWords(rows: readonly VariantRow[]): string {
  if (rows.length < 2) return "Memory";
  return rows.every((row) => row.size_bytes === rows[0]?.size_bytes) ? "Memory each" : "Memory of the one shown";
}

function Memory({ store, finding, preview, rows }: Shown) {
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

function Fetch({ preview, rows }: Pick<Shown, "preview" | "rows">) {
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

/** It moves between the figures and the warning that memory does not suffice; the focus goes with it. */
export function LoadOn({ store, finding, preview }: Omit<Shown, "rows">) {
  const { devices } = store.state.value;
  if (devices.length === 0) return null;
  return (
    <span class="row on" data-back={places("device", "start")}>
      <span class="t2" aria-hidden="true">
        Load on
      </span>
      <Pick
        label="Load on"
        value={finding.deviceId()}
        options={devices.map(({ id }) => ({ value: id, label: deviceLabel(preview, id) }))}
        onPick={(id) => finding.setDevice(id)}
      />
    </span>
  );
}

export function Warnings(props: Shown) {
  const warnings = warningsOf(props.preview, props.rows);
  if (warnings.length === 0) return null;
  return (
    <div class="notes look-notes line">
      {warnings.map((warning) => (
        <Warning key={`${warning.kind} ${warning.what}`} {...props} warning={warning} />
      ))}
    </div>
  );
}

/** What Python said of the one that is shown; of several, whether the disk has room for all of them. */
export function warningsOf(preview: Preview, rows: readonly VariantRow[]): HubWarning[] {
  const free = preview.disk_free_bytes;
  const all = toFetch(rows);
  if (rows.length < 2 || free === null || all <= free) return preview.warnings;
  const hint = `The downloads need ${f.bytes(all)} and ${f.bytes(free)} is free. Free some space, or choose fewer.`;
  return [
    ...preview.warnings.filter((one) => one.kind !== "disk"),
    { kind: "disk", what: "Not enough disk space.", hint },
  ];
}

function Warning({ store, finding, preview, rows, warning }: Shown & { warning: HubWarning }) {
  const { busy } = finding.preview.value;
  const again = (
    <Button
      text={busy ? "Checking…" : "Check again"}
      small
      icon="retry"
      disabled={busy}
      onClick={() => finding.look(true)}
    />
  );
  const download = (label: string) => (
    <Button
      text={label}
      small
      disabled={store.starting.value}
      onClick={() => store.download(rows.map((row) => finding.chosen(row)))}
    />
  );
  const { kind, what } = warning;
  const hint = warning.hint ?? "";
  const gated = kind === "gated_model";
  const actions: Record<string, ComponentChildren> = {
    gated_model: (
      <>
        {again}
        {download("Download SAE only")}
      </>
    ),
    memory: (
      <>
        <LoadOn store={store} finding={finding} preview={preview} />
        {download("Download anyway")}
      </>
    ),
    disk: again,
  };
  return (
    <NoteBox tone={TONES[kind] ?? "plain"} title={what} actions={actions[kind]}>
      {/* of a gated model the rest of the sentence is said by the steps */}
      <Linked text={gated ? (hint.split(/ Sign in,/)[0] ?? "") : hint} />
      {gated && <Steps store={store} finding={finding} preview={preview} hint={hint} />}
    </NoteBox>
  );
}

const TONES: Record<string, NoteProps["tone"]> = { gated_model: "err", memory: "warn", disk: "err", pickle: "info" };

function Steps({ store, finding, preview, hint }: Omit<Shown, "rows"> & { hint: string }) {
  const page = modelPage(finding, preview, hint);
  const { account, has_token } = store.state.value;
  return (
    <ol>
      <li>
        <span>
          {account
            ? `Sign in: done, as ${account}.`
            : has_token
              ? "Sign in: done, with the access token you typed."
              : "Sign in: type an access token (tab Any repository), or run hf auth login in a terminal."}
        </span>
      </li>
      <li>
        <span>
          <b>Accept the licence</b> on{" "}
          {page ? (
            <a href={page} target="_blank" rel="noopener noreferrer">
              the model page
            </a>
          ) : (
            "the model page"
          )}{" "}
          with that account.
        </span>
      </li>
      <li>
        <span>Press Check again. Approval is usually immediate.</span>
      </li>
    </ol>
  );
}

/** The page of the base model: as the warning names it, else on the hub that the repository came from. */
function modelPage(finding: Finding, preview: Preview, hint: string): string | null {
  const named = /https?:\/\/[^\s<>"')]*[^\s<>"').,;:]/.exec(hint)?.[0];
  if (named) return named;
  const row = finding.current.value;
  const repo = row ? finding.repository(row) : undefined;
  const { model } = preview;
  if (!model || !/^[\w.-]+\/[\w.-]+$/.test(model)) return null;
  const url = repo?.url ?? "";
  const hub =
    repo && /^https?:\/\//.test(url) && url.endsWith(`/${repo.repo_id}`) ? url.slice(0, -repo.repo_id.length) : "";
  return `${hub || "https://huggingface.co/"}${model}`;
}

interface BarProps extends Omit<Shown, "preview"> {
  words: string;
  onStarted?: () => void;
}

export function DownloadBar({ store, finding, rows, words, onStarted }: BarProps) {
  const preview = finding.preview.value.data;
  const tooMany = rows.length > MOST;
  const said = tooMany ? `${words}; at most ${MOST} at once` : words;
  const start = async () => {
    if (await store.download(rows.map((row) => finding.chosen(row)))) onStarted?.();
  };
  return (
    <>
      {finding.configShown.value && preview && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable from the keyboard
        <section class="config line" aria-label="Configuration" tabIndex={0}>
          <pre class="scroll tall">
            {Object.keys(preview.config).length
              ? JSON.stringify(preview.config, null, 2)
              : "This SAE comes without a configuration file."}
          </pre>
        </section>
      )}
      <div class="ft2" aria-busy={store.starting.value}>
        <Cut class="sm t2" text={said} />
        <div class="sp" />
        {finding.current.value && (
          <Button
            text="Show configuration"
            expanded={finding.configShown.value}
            disabled={preview === null}
            onClick={flip(finding.configShown)}
          />
        )}
        <Button
          text={
            store.starting.value ? "Starting…" : rows.length > 1 ? `Download ${f.count(rows.length)} SAEs` : "Download"
          }
          kind="primary"
          icon="download"
          disabled={rows.length === 0 || tooMany || store.starting.value}
          onClick={start}
        />
      </div>
    </>
  );
}
