/** Any repository: where to look, what is there, what is chosen. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { onEnter } from "../lib/a11y";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { AccessToken, Field } from "../lib/forms";
import { Empty, into, NothingMatches, put, Search } from "../lib/kit";
import type { VariantRow } from "../lib/wire";
import { type Columns, columnsOf, keyOf, MOST, searched } from "./listing";
import { DownloadBar, PreviewPane } from "./preview";
import { FailedNote, Looking, Problems, places } from "./problems";
import type { Store } from "./store";
import { folderOf, formatWords, guessSource, l0Words, siteWords, widthWords } from "./words";

export function AnyRepository({ store }: { store: Store }) {
  const { any } = store;
  return (
    <>
      <div class="bd where">
        <Repository store={store} />
        <Token store={store} />
        <div class="go">
          <Button text="Preview" kind="primary" onClick={() => store.preview()} />
        </div>
      </div>
      <Looking finding={any} />
      <FailedNote failed={any.found.value.problem} again={() => store.preview()} onDismiss={() => any.clear()} />
      <Problems store={store} finding={any} again={() => store.preview()} />
      {any.idle && <Nothing store={store} />}
      {any.rows.value.length > 0 && <Found store={store} />}
    </>
  );
}

const HELP = {
  repository:
    "A model repository of the hub. After the name may follow @ and a branch, tag or commit, or a folder. " +
    "Links copied from the hub work, and so do SAELens names (release, or release/id).",
  token:
    "For private and gated repositories. It goes to the kernel when you press Preview, stays in its memory until " +
    "this widget is closed, and is written nowhere. Without one, the sign-in of huggingface_hub is used.",
};

function Repository({ store }: { store: Store }) {
  const input = useRef<HTMLInputElement>(null);
  const unnamed = store.unnamed.value;
  useLayoutEffect(() => {
    if (unnamed) input.current?.focus();
  }, [unnamed]);
  return (
    <Field
      input={input}
      label="Repository"
      class="wide"
      help={HELP.repository}
      error={unnamed ? "No repository is named. Enter owner/name, or choose one of the known repositories." : undefined}
      hint="owner/name, owner/name@revision, a sub-folder, or a pasted link"
      autocapitalize="off"
      spellcheck={false}
      value={store.repository.value}
      onInput={(text) => {
        store.repository.value = text;
        store.unnamed.value = false;
      }}
      onKeyDown={onEnter(() => store.preview())}
    />
  );
}

function Token({ store }: { store: Store }) {
  const input = useRef<HTMLInputElement>(null);
  const kept = store.state.value.has_token;
  useEffect(() => {
    store.takeToken = () => {
      const text = input.current?.value.trim() ?? "";
      if (input.current) input.current.value = "";
      return text;
    };
    return () => {
      store.takeToken = () => "";
    };
  }, [store]);
  const forget = (
    <span data-back={places("token")}>
      {" · "}
      <Button text="Forget token" kind="link" onClick={() => store.forgetToken()} />
    </span>
  );
  return (
    <AccessToken
      input={input}
      help={HELP.token}
      hint={<>kept in memory only{kept && forget}</>}
      placeholder={kept ? "one is kept in memory" : "from your sign-in"}
      onKeyDown={onEnter(() => store.preview())}
    />
  );
}

const Nothing = ({ store }: { store: Store }) => (
  <div data-back={places("tab")}>
    <Empty
      title="Nothing chosen yet"
      actions={
        <>
          <Button onClick={put(store.tab, "gemma")}>Browse Gemma Scope</Button>
          <Button onClick={put(store.tab, "known")}>Known repositories</Button>
        </>
      }
    >
      Paste a repository to see which SAEs it holds, their size and whether they fit this machine. Weights are fetched
      only when you press Download.
    </Empty>
  </div>
);

function Found({ store }: { store: Store }) {
  const { any } = store;
  const rows = any.rows.value;
  const shown = searched(rows, store.search.value);
  const chosen = rows.filter((row) => store.checked.value.has(keyOf(row)));
  const formats = [...new Set(rows.map((row) => row.format))];
  const total = any.found.value.data?.total ?? rows.length;
  return (
    <>
      <div class="tb line">
        <h3>{`${f.plural(total, "SAE")} found`}</h3>
        {formats.length === 1 && <span class="bg">{`${formatWords(formats[0] as string)} format`}</span>}
        <span class="sm t2 hw">
          {rows.length < total
            ? `${f.count(rows.length)} of them listed so far…`
            : shown.length < rows.length
              ? `${f.count(shown.length)} match`
              : ""}
        </span>
        <div class="sp" />
        <Search label="Search variants" placeholder="Filter" value={store.search.value} onInput={into(store.search)} />
      </div>
      {shown.length > 0 ? (
        <Variants store={store} rows={shown} columns={columnsOf(rows)} />
      ) : (
        <NothingMatches noun="SAE" onClear={put(store.search, "")}>
          {`None of the ${f.plural(rows.length, "SAE")} matches “${store.search.value.trim()}”.`}
        </NothingMatches>
      )}
      <PreviewPane store={store} finding={any} rows={chosen} />
      <DownloadBar
        store={store}
        finding={any}
        rows={chosen}
        words={chosen.length === 0 ? "Choose the SAEs to download" : `${f.plural(chosen.length, "SAE")} chosen`}
        onStarted={() => store.check(chosen, false)}
      />
    </>
  );
}

const ROW = 26; // px, as the style sheet has it
const SHOWN = 12; // rows that fit without scrolling
const SPARE = 20; // rows drawn above and below those in sight

export function Variants({ store, rows, columns }: { store: Store; rows: readonly VariantRow[]; columns: Columns }) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const long = rows.length > 4 * SPARE;
  const first = long ? Math.max(0, Math.min(Math.floor(top / ROW) - SPARE, rows.length - 1)) : 0;
  const last = long ? Math.min(rows.length, Math.ceil(top / ROW) + SHOWN + SPARE) : rows.length;
  const checked = store.checked.value;
  const exact = store.any.latents.value;
  const count = rows.filter((row) => checked.has(keyOf(row))).length;

  // A filter that leaves few rows may leave the box scrolled beyond them.
  useLayoutEffect(() => {
    const reach = Math.max(0, rows.length * ROW - SHOWN * ROW);
    if (box.current && box.current.scrollTop > reach + ROW) box.current.scrollTop = reach;
    setTop(box.current?.scrollTop ?? 0);
  }, [rows.length]);

  // biome-ignore lint/a11y/noAriaHiddenOnFocusable: an empty row cannot take the focus
  const spacer = (n: number) => n > 0 && <tr aria-hidden="true" class="gap" style={{ height: `${n * ROW}px` }} />;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable from the keyboard
    <div class="variants" ref={box} tabIndex={0} onScroll={(event) => setTop(event.currentTarget.scrollTop)}>
      <table class="pad" aria-label="Variants" aria-rowcount={rows.length + 1}>
        <thead>
          <tr aria-rowindex={1}>
            <th class="pick">
              <input
                type="checkbox"
                aria-label="Choose all shown"
                disabled={rows.length > MOST}
                title={rows.length > MOST ? `At most ${MOST} at once: filter first` : undefined}
                checked={count > 0 && count === rows.length}
                ref={(element) => {
                  if (element) element.indeterminate = count > 0 && count < rows.length;
                }}
                onChange={(event) => store.check(rows, event.currentTarget.checked)}
              />
            </th>
            <th>Folder</th>
            {columns.layer && <th class="num">Layer</th>}
            {columns.site && <th>Site</th>}
            {columns.width && <th class="num">d_sae</th>}
            {columns.l0 && <th class="num">L0</th>}
            {columns.format && <th>Format</th>}
            <th class="num">Download</th>
            {columns.badges && (
              <th>
                <span class="vh">Remarks</span>
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {spacer(first)}
          {rows.slice(first, last).map((row, i) => (
            <Row
              key={keyOf(row)}
              row={row}
              columns={columns}
              index={first + i + 2}
              checked={checked.has(keyOf(row))}
              latents={exact.get(keyOf(row)) ?? null}
              onCheck={(on) => store.check([row], on)}
            />
          ))}
          {spacer(rows.length - last)}
        </tbody>
      </table>
    </div>
  );
}

interface RowProps {
  row: VariantRow;
  columns: Columns;
  index: number;
  checked: boolean;
  /** d_sae as its files have it; null while only names are known. */
  latents: number | null;
  onCheck: (on: boolean) => void;
}

function Row({ row, columns, index, checked, latents, onCheck }: RowProps) {
  const folder = folderOf(row.path);
  return (
    <tr
      aria-rowindex={index}
      class={checked ? "sel" : undefined}
      onClick={(event) => {
        // The whole row is a target for the pointer; the checkbox is the control.
        if (!(event.target instanceof HTMLInputElement) && !getSelection()?.toString()) onCheck(!checked);
      }}
    >
      <td class="pick">
        <input
          type="checkbox"
          aria-label={`Choose ${folder}`}
          checked={checked}
          onChange={(event) => onCheck(event.currentTarget.checked)}
        />
      </td>
      <td class="folder el" title={folder}>
        <code>{folder}</code>
      </td>
      {columns.layer && <td class="num">{row.layer ?? f.DASH}</td>}
      {columns.site && (
        <td class="el" title={row.site ?? undefined}>
          {row.site === null ? f.DASH : siteWords(row.site)}
        </td>
      )}
      {columns.width && (
        <td class="num" title={latents === null ? guessSource(row) : undefined}>
          {latents === null ? widthWords(row) : f.count(latents)}
        </td>
      )}
      {columns.l0 && <td class="num">{row.l0 === null ? f.DASH : l0Words(row.l0)}</td>}
      {columns.format && (
        <td class="el" title={row.format}>
          {formatWords(row.format)}
        </td>
      )}
      <td class="num">{f.bytes(row.size_bytes)}</td>
      {columns.badges && (
        <td class="nw badges">
          {row.canonical && <span class="bg">canonical</span>}
          {row.cached && <span class="bg">cached</span>}
        </td>
      )}
    </tr>
  );
}
