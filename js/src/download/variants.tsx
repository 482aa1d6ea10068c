/** The table of SAEs in a repository. Of a long one only the rows in sight are drawn. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import * as f from "../lib/format";
import type { VariantRow } from "../lib/wire";
import { type Columns, keyOf, MOST } from "./listing";
import type { Store } from "./store";
import { folderOf, formatWords, guessSource, l0Words, siteWords, widthWords } from "./words";

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
