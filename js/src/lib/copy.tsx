/** Copying and saving from a page that may be a sandboxed frame. */

import { useState } from "preact/hooks";
import { Button } from "./controls";

/** Copies `text`; false when the page may not (the caller then shows it for copying by hand). */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Not granted, or not a secure context: the old way needs a selected element.
    return copyBySelection(text);
  }
}

function copyBySelection(text: string): boolean {
  const area = document.createElement("textarea");
  area.value = text;
  area.setAttribute("readonly", "");
  area.style.cssText = "position:fixed;opacity:0";
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  let done = false;
  try {
    done = document.execCommand?.("copy") ?? false;
  } finally {
    area.remove();
    if (focused instanceof HTMLElement) focused.focus();
  }
  return done;
}

export function saveFile(name: string, text: string, type: string): void {
  saveBlob(name, new Blob([text], { type }));
}

export function saveBlob(name: string, blob: Blob): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A value of a table; null is an empty cell. */
export type Cell = string | number | boolean | null;

/** Rows as CSV (RFC 4180). A cell that a spreadsheet would run as a formula is quoted with an apostrophe. */
export function toCsv(rows: readonly (readonly Cell[])[]): string {
  const cell = (value: Cell) => {
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

export function CopyButton({ text, word, large = false }: { text: string; word: string; large?: boolean }) {
  const [state, setState] = useState(word);
  const copy = async () => {
    setState((await copyText(text)) ? "Copied" : "Select and copy by hand");
    setTimeout(() => setState(word), 2000);
  };
  const said = state === word ? undefined : state;
  return <Button text={state} small={!large} kind="quiet" icon="copy" label={said} onClick={copy} />;
}

/** A line of code to run in a cell, where a widget cannot be opened from the page. */
export const CodeLine = ({ words, code }: { words: string; code: string }) => (
  <div class="row w code-line">
    <span class="sm t2">{words}</span>
    <span class="row">
      <pre>{code}</pre>
      <CopyButton text={code} word="Copy code" />
    </span>
  </div>
);
