/** The download widget on the page: its state, what the user is looking at, and the commands it sends. */
import { type Signal, signal } from "@preact/signals";
import * as f from "../lib/format";
import type { Model } from "../lib/rpc";
import { isActive, statusChanges, wordOf } from "../lib/statuses";
import { BaseStore, during } from "../lib/store";
import * as wire from "../lib/wire";
import type { Choices } from "./facets";
import { Finding, keyOf } from "./listing";
import { anythingRuns, said } from "./words";

export type TabId = "repository" | "gemma" | "known";

export class Store extends BaseStore<wire.HubState, wire.HubCommand, never> {
  readonly tab = signal<TabId>("repository");
  readonly repository = signal("");
  readonly any = new Finding(this);
  readonly gemma = new Finding(this);
  readonly checked: Signal<ReadonlySet<string>> = signal(new Set());
  readonly unnamed = signal(false);
  readonly search = signal("");
  readonly knownSearch = signal("");
  readonly release = signal("");
  readonly choices: Signal<Choices> = signal([]);
  readonly known: Signal<wire.HubKnownData | null> = signal(null);
  private readonly askingKnown = signal(false);
  private looked = "";
  readonly starting = signal(false);
  /** Is b_dec subtracted from the input? Asked where the files of what is previewed leave it open. */
  readonly answer = signal<boolean | null>(null);
  /** Reads what stands in the masked field, and empties it. The text is nowhere else on the page. */
  takeToken: () => string = () => "";

  constructor(model: Model, host: Element, stop: AbortSignal) {
    super(model, host, stop, wire.EMPTY_HUB);
    this.repository.value = this.state.value.repository;
    this.follow(
      (before, after) => {
        for (const line of statusChanges(before.downloads, after.downloads, said)) this.announce(line);
        this.unmarkChanged(before.downloads, after.downloads, ({ status }) => status);
        const was = new Map(before.downloads.map((card) => [card.id, card.status]));
        const ended = after.downloads.filter((card) => was.get(card.id) !== card.status && !isActive(card));
        if (ended.length > 0) for (const finding of [this.any, this.gemma]) finding.arrived(ended);
      },
      (state) => anythingRuns(state.downloads),
    );
  }

  async loadKnown(): Promise<void> {
    if (this.known.value !== null || this.askingKnown.value) return;
    const asked = this.command("known", "The list of repositories", { kind: "hub_known" });
    const answer = await during(this.askingKnown, asked);
    if (answer) this.known.value = answer.value;
  }

  /** Sends the token that was typed, if any; false when that failed (its text is lost with the field then). */
  async sendToken(): Promise<boolean> {
    const token = this.takeToken();
    if (token === "") return true;
    return (await this.command("token", "The access token", { kind: "hub_token", token })) !== null;
  }

  async forgetToken(): Promise<void> {
    await this.command("token", "Forgetting the token", { kind: "hub_token", token: null });
  }

  /** Looks into what stands in the box; a second time for the same asks the hub anew. */
  async preview(): Promise<void> {
    const text = this.repository.value.trim();
    this.unnamed.value = text === "";
    if (this.unnamed.value) {
      if (this.any.rows.value.length === 0) this.any.clear(); // what was said of another name
      await this.sendToken();
      return;
    }
    const again = text === this.looked;
    this.looked = text;
    this.checked.value = new Set();
    this.search.value = "";
    this.announce(""); // what was found before is not what is looked for now
    if (!(await this.sendToken())) return;
    if (!(await this.any.list(text, "", text, again))) return;
    const { rows, found } = this.any;
    this.announce(`${f.plural(rows.value.length, "SAE")} found`);
    const asked = found.value.data?.path ?? "";
    const named = rows.value.filter((row) => row.path === asked);
    const only = rows.value.length === 1 ? rows.value[0] : named.length === 1 && asked ? named[0] : undefined;
    if (only) this.check([only], true);
  }

  isLooking(tab: TabId): boolean {
    if (tab === "known") return this.askingKnown.value;
    return (tab === "gemma" ? this.gemma : this.any).found.value.busy;
  }

  browse(text: string): void {
    this.tab.value = "repository";
    this.repository.value = text;
    void this.preview();
  }

  /** Opens a known repository: one of Gemma Scope by its facets, any other as a table. */
  async browseKnown(row: wire.KnownRepo): Promise<void> {
    const release = this.known.value?.releases.find((one) => one.repo_ids.includes(row.repo_id));
    if (!release) {
      this.browse(row.repo_id);
      return;
    }
    this.tab.value = "gemma";
    await this.showRelease(release.id);
    const { rows, found } = this.gemma;
    const place = found.value.data?.repositories.findIndex((repo) => repo.repo_id === row.repo_id) ?? -1;
    const sites = new Set(rows.value.filter((one) => one.repo === place).map((one) => one.site));
    const [site] = sites;
    if (sites.size === 1 && site) this.choices.value = [["site", site]];
  }

  async showRelease(id: string, again = false): Promise<void> {
    this.release.value = id;
    this.choices.value = [];
    const label = this.known.value?.releases.find((release) => release.id === id)?.label ?? id;
    if (await this.sendToken()) await this.gemma.list("", id, label, again);
  }

  check(rows: readonly Parameters<Finding["chosen"]>[0][], on: boolean): void {
    const next = new Set(this.checked.value);
    for (const row of rows) {
      if (on) next.add(keyOf(row));
      else next.delete(keyOf(row));
    }
    this.checked.value = next;
    const left = this.any.rows.value.filter((row) => next.has(keyOf(row)));
    const last = on ? rows.at(-1) : undefined;
    const current = this.any.current.value;
    const stays = current && next.has(keyOf(current)) ? current : left.at(-1);
    this.any.show(last ?? stays ?? null);
  }

  async download(saes: wire.ListedSae[]): Promise<boolean> {
    const apply_b_dec_to_input = this.answer.value ?? undefined;
    const command = { kind: "hub_download", saes, apply_b_dec_to_input } as const;
    const answer = await during(this.starting, this.command("download", "The download", command));
    if (answer === null) return false;
    this.answer.value = null;
    this.announce(saes.length === 1 ? "Download started" : `${saes.length} downloads started`);
    return true;
  }

  /** Does something to downloads. It counts as under way until their state shows it, or nothing came of it. */
  async act(action: wire.DownloadAction, cards: readonly wire.DownloadCard[]): Promise<void> {
    const ids = cards.map((card) => card.id);
    const key = ids.length === 1 ? (ids[0] as string) : "downloads";
    this.mark(ids, action);
    const answer = await this.command(key, wordOf(action), { kind: "hub_action", action, job_ids: ids });
    this.unmark(ids, undefined, answer !== null);
  }

  openSae(card: wire.DownloadCard): void {
    if (card.sae_id) void this.command(card.id, "Opening it", { kind: "hub_open", sae_id: card.sae_id });
  }

  closeInnermost(): boolean {
    const shown = [this.keysShown, this.any.configShown, this.gemma.configShown].find((one) => one.value);
    if (shown) shown.value = false;
    return shown !== undefined;
  }
}
