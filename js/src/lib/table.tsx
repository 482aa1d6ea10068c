/** Tables of words and numbers. */
import type { ComponentChildren } from "preact";
import { Breakable } from "./breakable";
import type { Setting } from "./wire";

export interface Column {
  head: ComponentChildren;
  class?: string | undefined;
  title?: string | undefined;
}

/** A column of numbers. */
export const num = (head: ComponentChildren, title?: string): Column => ({ head, class: "num", title });

/** A column whose head is for screen readers only. */
export const unseen = (head: string, of?: string): Column => ({ head: <span class="vh">{head}</span>, class: of });

export interface Row {
  key: string | number;
  cells: readonly ComponentChildren[];
  class?: string | undefined;
}

interface TableProps {
  label: string;
  columns: readonly (Column | string)[];
  rows: readonly Row[];
  class?: string;
  /** The classes of the box that scrolls; it is in the order of the tab key where it has more than fits. */
  box?: string;
  focus?: boolean;
}

export function Table({ label, columns, rows, class: name, box = "xs-scroll", focus }: TableProps) {
  const all = columns.map((column): Column => (typeof column === "string" ? { head: column } : column));
  return (
    <div class={box} tabIndex={focus ? 0 : undefined}>
      <table class={name} aria-label={label}>
        <thead>
          <tr>
            {all.map(({ head, title, class: kind }, i) => (
              <th key={i} scope="col" class={kind} title={title}>
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.key} class={row.class}>
              {row.cells.map((cell, i) => (
                <td key={i} class={all[i]?.class}>
                  {cell}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Settings and their values. */
export function Settings({ of, label }: { of: readonly Setting[]; label: string }) {
  return (
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
}

/** Names and values, side by side. */
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
