/** Tables of words and numbers. */
import { type ComponentChildren, type HTMLAttributes, isValidElement, type VNode } from "preact";
import { Breakable, Button } from "./controls";
import type { Setting } from "./wire";

export interface Column {
  head: ComponentChildren;
  class?: string | undefined;
  title?: string | undefined;
}

export const num = (head: ComponentChildren, title?: string): Column => ({ head, class: "num", title });

export const unseen = (head: string, of?: string): Column => ({ head: <span class="vh">{head}</span>, class: of });

/** A heading that sorts when it is pressed, first ascending. `down`: how its column is sorted, if it is. */
export const sortHead = ({ head, ...column }: Column, down: boolean | undefined, onSort: (down: boolean) => void) => (
  <th scope="col" {...column} aria-sort={down === undefined ? undefined : down ? "descending" : "ascending"}>
    <Button kind="link" onClick={() => onSort(down === false)}>
      {head}
      {down !== undefined && <span aria-hidden="true">{down ? " ↓" : " ↑"}</span>}
    </Button>
  </th>
);

export interface Row extends TrProps {
  key: string | number;
  /** A cell that is more than its column says comes as a whole `td` or `th`. */
  cells: readonly ComponentChildren[];
}
type TrProps = Pick<HTMLAttributes<HTMLTableRowElement>, "class" | "onClick">;

interface TableProps extends Pick<HTMLAttributes<HTMLTableElement>, "onKeyDown"> {
  label: string;
  columns: readonly (Column | string | VNode)[];
  rows: readonly Row[] | readonly (readonly Row[])[];
  class?: string | undefined;
  /** The classes of the box that scrolls; it is in the order of the tab key where it has more than fits. */
  box?: string;
  focus?: boolean;
}

const isCell = (cell: unknown): cell is VNode => isValidElement(cell) && (cell.type === "td" || cell.type === "th");

export function Table({ label, columns, rows, class: name, box = "xs-scroll", focus, onKeyDown }: TableProps) {
  const all = columns.map((one): Column | VNode => (typeof one === "string" ? { head: one } : one));
  const bodies = (Array.isArray(rows[0]) ? rows : [rows]) as readonly (readonly Row[])[];
  return (
    <div class={box} tabIndex={focus ? 0 : undefined}>
      <table class={name} aria-label={label} onKeyDown={onKeyDown}>
        <thead>
          <tr>
            {all.map((column, i) =>
              isCell(column) ? (
                column
              ) : (
                <th key={i} scope="col" class={(column as Column).class} title={(column as Column).title}>
                  {(column as Column).head}
                </th>
              ),
            )}
          </tr>
        </thead>
        {bodies.map((body, n) => (
          <tbody key={n}>
            {body.map(({ key, cells, ...row }) => (
              <tr key={key} {...row}>
                {cells.map((cell, i) =>
                  isCell(cell) ? (
                    cell
                  ) : (
                    <td key={i} class={(all[i] as Column)?.class}>
                      {cell}
                    </td>
                  ),
                )}
              </tr>
            ))}
          </tbody>
        ))}
      </table>
    </div>
  );
}

export const Settings = ({ of, label }: { of: readonly Setting[]; label: string }) => (
  // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable from the keyboard
  <div class="xs-scroll tall" tabIndex={0}>
    <table class="settings" aria-label={label}>
      <tbody>
        {of.map(({ name, label, value }) => (
          <tr key={name}>
            <th scope="row" title={name}>
              <Breakable text={label || name} />
            </th>
            <td>
              <code>{value}</code>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  </div>
);

export function Facts({ facts, label }: { facts: readonly (readonly [string, ComponentChildren])[]; label?: string }) {
  return (
    <dl class="kv" aria-label={label}>
      {facts.map(([name, value]) => (
        <>
          <dt key={`${name}-name`}>{name}</dt>
          <dd key={name}>{value}</dd>
        </>
      ))}
    </dl>
  );
}
