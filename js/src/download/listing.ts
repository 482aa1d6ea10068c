/** What one tab has found: a listing, what is chosen in it, and the preview of one SAE. */
import { type Signal, signal } from "@preact/signals";
import { Latest } from "../lib/ask";
import { finder, mainDevice } from "../lib/format";
import type { AnswerTo } from "../lib/rpc";
import { type BaseStore, withKey } from "../lib/store";
import * as wire from "../lib/wire";
import { folderOf, formatWords, siteWords } from "./words";

export const MOST = 200; // SAEs of one press on Download

export const keyOf = (row: wire.VariantRow): string => `${row.repo}/${row.path}`;

export class Finding {
  readonly found = new Latest<wire.HubListing>();
  readonly rows: Signal<wire.VariantRow[]> = signal([]);
  label = "";
  readonly preview = new Latest<wire.Preview>();
  readonly device: Signal<string | null> = signal(null);
  readonly configShown = signal(false);
  /** d_sae of the SAEs that were previewed, by key: a listing has only what names say. */
  readonly latents: Signal<ReadonlyMap<string, number>> = signal(new Map());
  readonly current: Signal<wire.VariantRow | null> = signal(null);

  constructor(private readonly store: BaseStore<wire.HubState, wire.HubCommand, never>) {}

  get idle(): boolean {
    const { data, busy, problem } = this.found.value;
    return data === null && !busy && problem === null;
  }

  /** Lists a repository (`text`) or a release; true when something was found. `again`: ask the hub itself. */
  async list(text: string, release: string, label: string, again = false): Promise<boolean> {
    this.clear();
    this.label = label;
    const found = await this.ask(this.found, "list", { kind: "hub_list", text, release, again });
    if (found === null) return false;
    const { listing, total } = found;
    this.rows.value = found.rows;
    for (let offset = found.rows.length; offset > 0 && offset < total; offset = this.rows.value.length) {
      const more = await this.store.command("list", "Preview", { kind: "hub_rows", listing, offset, limit: wire.PAGE });
      if (!more?.value.length || this.found.value.data?.listing !== listing) break;
      this.rows.value = [...this.rows.value, ...more.value];
    }
    return total > 0 && this.found.value.data?.listing === listing;
  }

  private ask<const C extends wire.HubCommand>(of: Latest<AnswerTo<C>>, key: "list" | "preview", command: C) {
    const onLate = (late: boolean) => {
      this.store.late.value = withKey(this.store.late.value, key, late ? "Preview" : undefined);
    };
    return of.ask(async (signal) => (await this.store.rpc.send(command, { signal, onLate })).value);
  }

  clear(): void {
    this.found.forget();
    this.rows.value = [];
    this.latents.value = new Map();
    this.show(null);
  }

  /** Takes a note off the page; where it was all that was found, the answer goes with it. */
  dismiss(what: string): void {
    const listing = this.found.value.data;
    const problems = listing?.problems.filter((one) => one.what !== what) ?? [];
    if (listing && listing.total + problems.length > 0) this.found.set({ ...listing, problems });
    else this.clear();
  }

  repository(row: wire.VariantRow): wire.RepoInfo | undefined {
    return this.found.value.data?.repositories[row.repo];
  }

  chosen(row: wire.VariantRow): wire.ListedSae {
    const repo = this.repository(row);
    return { repo_id: repo?.repo_id ?? "", revision: repo?.revision ?? "", path: row.path };
  }

  /** The device the preview is for: the chosen one, else where an SAE would go by itself. */
  deviceId(): string {
    return this.device.value ?? mainDevice(this.store.state.value.devices)?.id ?? "";
  }

  show(row: wire.VariantRow | null): void {
    const same = row !== null && this.current.value !== null && keyOf(row) === keyOf(this.current.value);
    if (same && (this.preview.value.data !== null || this.preview.value.busy)) return;
    this.current.value = row;
    this.preview.forget();
    if (row === null) this.configShown.value = false;
    else void this.look();
  }

  setDevice(id: string): void {
    this.device.value = id;
    void this.look();
  }

  /** Asks for the preview of the current row; `again`: of the hub itself, also where the answer is known. */
  async look(again = false): Promise<void> {
    const row = this.current.value;
    if (row === null) return;
    const command = { kind: "hub_preview", sae: this.chosen(row), device: this.deviceId(), again } as const;
    const preview = await this.ask(this.preview, "preview", command);
    if (preview && preview.d_sae !== null && preview.d_in !== null)
      this.latents.value = withKey(this.latents.value, keyOf(row), preview.d_sae);
  }

  /** These downloads ended: what is in the cache now is marked, and the preview of one of them is made anew. */
  arrived(ended: readonly wire.DownloadCard[]): void {
    const of = (row: wire.VariantRow) => ended.find((card) => nameOf(card) === nameOf(this.chosen(row)));
    const now = this.rows.value.map((row) =>
      of(row)?.status === "completed" && !row.cached ? { ...row, cached: true } : row,
    );
    if (now.some((row, i) => row !== this.rows.value[i])) this.rows.value = now;
    const current = this.current.value;
    if (current === null || !of(current)) return;
    this.current.value = now.find((row) => keyOf(row) === keyOf(current)) ?? current;
    void this.look();
  }
}

const nameOf = ({ repo_id, revision, path }: Pick<wire.DownloadCard, "repo_id" | "revision" | "path">): string =>
  `${repo_id}@${revision ?? ""}/${path}`;

export function searched(rows: readonly wire.VariantRow[], search: string): readonly wire.VariantRow[] {
  const found = finder(search);
  return search.trim() === "" ? rows : rows.filter((row) => found(textOf(row)));
}

const texts = new WeakMap<wire.VariantRow, string>(); // a search looks at thousands with every letter

function textOf(row: wire.VariantRow): string {
  const known = texts.get(row);
  if (known !== undefined) return known;
  const parts = [
    folderOf(row.path),
    row.site ?? "",
    row.site ? siteWords(row.site) : "",
    row.layer === null ? "" : `layer ${row.layer}`,
    row.width ?? "",
    row.d_sae === null ? "" : `${row.d_sae} ${row.d_sae.toLocaleString("en-US")}`,
    row.l0 === null ? "" : `l0 ${row.l0}`,
    formatWords(row.format),
    row.cached ? "cached" : "",
    row.canonical ? "canonical" : "",
  ];
  const text = parts.join(" ").toLowerCase();
  texts.set(row, text);
  return text;
}

/** Which columns have something to say. */
export const columnsOf = (rows: readonly wire.VariantRow[]) => ({
  layer: rows.some((row) => row.layer !== null),
  site: rows.some((row) => row.site !== null),
  width: rows.some((row) => row.d_sae !== null || row.width !== null),
  l0: rows.some((row) => row.l0 !== null),
  format: new Set(rows.map((row) => row.format)).size > 1,
  badges: rows.some((row) => row.cached || row.canonical),
});
export type Columns = ReturnType<typeof columnsOf>;

/** What a download of these would fetch, as far as the listing tells: what is cached costs nothing. */
export const toFetch = (rows: readonly wire.VariantRow[]): number =>
  rows.reduce((sum, row) => sum + (row.cached ? 0 : row.size_bytes), 0);
