/** What to know before a download, each with the button for the next step. */
import type { ComponentChildren } from "preact";
import { Button, NoteBox, type NoteProps } from "../lib/controls";
import * as f from "../lib/format";
import type { HubPreviewData, HubWarning, VariantRow } from "../lib/wire";
import { type Finding, toFetch } from "./listing";
import { LoadOn } from "./load-on";
import { Linked } from "./problems";
import type { Store } from "./store";

interface WarningsProps {
  store: Store;
  finding: Finding;
  preview: HubPreviewData;
  rows: readonly VariantRow[];
}

export function Warnings(props: WarningsProps) {
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
export function warningsOf(preview: HubPreviewData, rows: readonly VariantRow[]): HubWarning[] {
  const free = preview.disk_free_bytes;
  const all = toFetch(rows);
  if (rows.length < 2 || free === null || all <= free) return preview.warnings;
  const hint = `The downloads need ${f.bytes(all)} and ${f.bytes(free)} is free. Free some space, or choose fewer.`;
  return [
    ...preview.warnings.filter((one) => one.kind !== "disk"),
    { kind: "disk", what: "Not enough disk space.", hint },
  ];
}

function Warning({ store, finding, preview, rows, warning }: WarningsProps & { warning: HubWarning }) {
  const again = (
    <Button
      text={finding.previewing.value ? "Checking…" : "Check again"}
      small
      icon="retry"
      disabled={finding.previewing.value}
      onClick={() => void finding.look(true)}
    />
  );
  const download = (label: string) => (
    <Button
      text={label}
      small
      disabled={store.starting.value}
      onClick={() => void store.download(rows.map((row) => finding.chosen(row)))}
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

/** How to get at a model that asks for a licence. */
function Steps({ store, finding, preview, hint }: Omit<WarningsProps, "rows"> & { hint: string }) {
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
function modelPage(finding: Finding, preview: HubPreviewData, hint: string): string | null {
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
