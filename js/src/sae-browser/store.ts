/** The browser on the page: its state, what the user has open, and the commands it sends. */
import { signal } from "@preact/signals";
import * as f from "../lib/format";
import type { Model } from "../lib/rpc";
import { BaseStore, Chosen, during, SETTLE, withKey } from "../lib/store";
import * as wire from "../lib/wire";
import { Adding } from "./adding";
import { outcomeWords } from "./state";

export type DrawerTab = "statistics" | "configuration" | "load" | "notes";
export type Open =
  | { kind: "menu" | "delete" | "rename" | "export" | "publish" | "locate" | "training" }
  | { kind: "details"; tab: DrawerTab };

export interface Draft {
  name: string;
  notes: string;
  tags: string;
}

export type Bulk = "export" | "delete";

export const WIDGET = "browser";
/** Where those of what is done to all checked SAEs do. */
export const SELECTION = "selection";

type Several = Extract<wire.SaeCommand, { kind: "export_saes" | "delete_saes" }>;

const TYPING = 250; // ms after the last key of a search

export class Store extends BaseStore<wire.SaeBrowserState, wire.SaeCommand, Open> {
  readonly adding: Adding;
  private readonly chosen = new Chosen<wire.SaeQuery>();
  private readonly checked = signal<readonly string[] | null>(null);
  readonly bulk = signal<Bulk | null>(null);
  readonly importing = signal(false);
  readonly compared = signal<readonly [wire.SelectedSae, wire.SelectedSae] | null>(null);
  /** Name, notes and tags that were typed and not saved, by SAE. */
  readonly drafts = signal<ReadonlyMap<string, Draft>>(new Map());
  /** An SAE to bring to the top of the list once its card is there. */
  readonly inView = signal<string | null>(null);
  /** The next page was asked for from within the list: the focus goes to its first card. */
  private turning = false;
  private typing: ReturnType<typeof setTimeout> | undefined;

  constructor(model: Model, host: Element, stop: AbortSignal) {
    super(model, host, stop, wire.EMPTY_BROWSER);
    this.adding = new Adding(this);
    this.follow(
      (before, after, first) => {
        if (after.revealed && (first || before.revealed !== after.revealed)) {
          this.open.value = withKey(this.open.value, after.revealed, { kind: "details", tab: "statistics" });
          this.inView.value = after.revealed;
        }
        if (before.below === "download" && after.below === "") {
          const last = after.selected.at(-1);
          if (last && !before.selected.some((sae) => sae.id === last.id)) this.focusCard.value = last.id;
        }
        if (this.turning && after.query.offset === this.query().offset) {
          this.turning = false;
          this.focusCard.value = after.cards[0]?.id ?? null;
        }
        if (before.matching !== after.matching) this.announce(f.plural(after.matching, "SAE"));
        this.forgetGone(before.cards, after.cards);
      },
      () => false,
    );
    stop.addEventListener("abort", () => {
      clearTimeout(this.typing);
      this.adding.cancel();
    });
  }

  // -------------------------------------------------------------------------------------------- what is shown

  query(): wire.SaeQuery {
    return this.chosen.over(this.state.value.query);
  }

  /** What was chosen last is not what is shown yet. */
  get browsing(): boolean {
    return this.chosen.ahead(this.state.value.query);
  }

  /** One page on (1) or back (-1); false where there is none. `focus`: the focus goes along. */
  turnPage(by: 1 | -1, focus = false): boolean {
    const { matching, page_size } = this.state.value;
    const offset = Math.max(0, this.query().offset + by * page_size);
    if (offset === this.query().offset || offset >= matching) return false;
    this.turning = focus;
    void this.browse({ offset });
    return true;
  }

  async browse(change: Partial<wire.SaeQuery>): Promise<void> {
    const whole = "offset" in change ? change : { ...change, offset: 0 };
    this.chosen.take(whole);
    const answer = await this.command(WIDGET, "The filter", { kind: "browse_saes", ...whole });
    this.chosen.forget(whole, answer !== null);
  }

  /** A search follows when the typing rests; what is typed shows at once. */
  search(text: string): void {
    this.chosen.take({ search: text });
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.browse({ search: text }), TYPING);
  }

  clearFilters(): void {
    clearTimeout(this.typing);
    void this.browse({ source: null, model: null, layer: null, architecture: null, format: null, search: "" });
  }

  // -------------------------------------------------------------------------------------------- what is checked

  checkedIds(): readonly string[] {
    return this.checked.value ?? this.state.value.selected.map((sae) => sae.id);
  }

  selection(): wire.SelectedSae[] {
    const { selected, cards } = this.state.value;
    return this.checkedIds().flatMap((id) => {
      const found = selected.find((sae) => sae.id === id) ?? cards.find((card) => card.id === id);
      return found ?? [];
    });
  }

  async check(ids: readonly string[]): Promise<void> {
    this.checked.value = ids;
    if (ids.length === 0) this.bulk.value = null;
    const answer = await this.command(WIDGET, "The selection", { kind: "select_saes", sae_ids: [...ids] });
    const forget = () => {
      if (this.checked.value === ids) this.checked.value = null;
    };
    if (answer) setTimeout(forget, SETTLE);
    else forget();
  }

  // -------------------------------------------------------------------------------------------- what is done

  async delete(key: string, saes: readonly wire.SelectedSae[]): Promise<void> {
    const ids = saes.map((sae) => sae.id);
    const after = this.neighbour(ids);
    if (key === SELECTION) this.bulk.value = null;
    else this.openFor(key, undefined);
    const done = await this.under(key, "delete", { kind: "delete_saes", sae_ids: ids });
    if (done?.done.length) {
      this.focusCard.value = after;
      this.announce(done.done.length === 1 ? "Deleted." : `${done.done.length} SAEs deleted.`);
    }
  }

  async export(key: string, saes: readonly wire.SelectedSae[], folder: string, format: string): Promise<boolean> {
    const sae_ids = saes.map((sae) => sae.id);
    const done = await this.under(key, "export", { kind: "export_saes", sae_ids, folder, format });
    if (!done) return false;
    const [first] = done.paths;
    const n = done.done.length;
    const several = `${f.plural(n, "SAE")} ${n === 1 ? "is" : "are"} in ${folder}.`;
    if (n) this.say(key, sae_ids.length === 1 ? `Its files are in ${first}.` : several);
    return true;
  }

  draft(id: string, draft: Draft | undefined): void {
    if (draft === undefined && !this.drafts.value.has(id)) return;
    this.drafts.value = withKey(this.drafts.value, id, draft);
  }

  async edit(card: wire.SaeCard, change: { name?: string; notes?: string; tags?: string[] }): Promise<boolean> {
    const answer = await this.command(card.id, "Save", { kind: "edit_sae", sae_id: card.id, ...change });
    return answer !== null;
  }

  async locate(card: wire.SaeCard, path: string): Promise<boolean> {
    const answer = await this.command(card.id, "Locate files", { kind: "locate_sae", sae_id: card.id, path });
    return answer !== null;
  }

  private async under(key: string, what: Bulk, command: Several): Promise<wire.BulkResult | null> {
    const word = what === "export" ? "Export" : "Delete";
    this.mark([key], what);
    this.say(key);
    this.outcome.value = null;
    const answer = await this.command(key, word, command);
    this.unmark([key]);
    const done = answer?.value ?? null;
    if (done) this.outcome.value = outcomeWords(what, command.sae_ids.length, done.problems);
    return done;
  }

  async publish(command: Extract<wire.SaeCommand, { kind: "publish_sae" }>): Promise<boolean> {
    const id = command.sae_id;
    this.mark([id], "publish");
    this.say(id);
    const answer = await this.command(id, "Publish", command);
    this.unmark([id]);
    if (answer) this.say(id, `Its page is ${answer.value.url}`, undefined, "Published.");
    return answer !== null;
  }

  async importTrainings(ids: readonly string[]): Promise<void> {
    const asked = this.command(WIDGET, "Import", { kind: "import_trainings", training_ids: [...ids] });
    const answer = await during(this.importing, asked);
    if (!answer) return;
    const { done, problems } = answer.value;
    const failed = outcomeWords("import", done.length + problems.length, problems);
    if (failed) this.refuse(WIDGET, failed.title, failed.lines.join(" "));
    this.focusCard.value = done[0] ?? null;
    this.announce(`${f.plural(done.length, "training")} imported.`);
  }

  /** Opens something below: the extraction viewer with this SAE chosen, steering to look it up in, the download. */
  showBelow(what: "extractions" | "steering" | "download", sae: wire.SaeCard | null): void {
    const word = { extractions: "Extract", steering: "Steering", download: "Download from Hugging Face" }[what];
    void this.command(sae?.id ?? WIDGET, word, { kind: "show_below", what, shown: true, sae_id: sae?.id ?? null });
  }

  showList(): void {
    const { below } = this.state.value;
    if (below) void this.command(WIDGET, "Back to SAEs", { kind: "show_below", what: below, shown: false });
  }

  async trainDemo(): Promise<string | null> {
    const answer = await this.command(WIDGET, "Train the demo", { kind: "train_demo" });
    return answer?.value?.name ?? null;
  }

  private neighbour(ids: readonly string[]): string | null {
    const { cards } = this.state.value;
    const at = cards.findIndex((card) => ids.includes(card.id));
    const left = (card: wire.SaeCard) => !ids.includes(card.id);
    return (cards.slice(Math.max(0, at)).find(left) ?? cards.slice(0, Math.max(0, at)).filter(left).at(-1))?.id ?? null;
  }

  private forgetGone(before: readonly wire.SaeCard[], after: readonly wire.SaeCard[]): void {
    if (this.open.value.size === 0) return;
    const left = new Set(after.map((card) => card.id));
    for (const { id } of before) if (!left.has(id)) this.openFor(id, undefined);
  }
}
