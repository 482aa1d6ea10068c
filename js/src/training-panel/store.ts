/** One part of the panel on the page: its state, what the user has open, and the commands it sends. */
import { computed, type ReadonlySignal, signal } from "@preact/signals";
import { copyText } from "../lib/copy";
import type { Answer, Model } from "../lib/rpc";
import { statusChanges, wordOf } from "../lib/statuses";
import { BaseStore, Chosen, stateOf } from "../lib/store";
import * as wire from "../lib/wire";
import { type Bulk, outcomeWords } from "./bulk-state";
import { listCards } from "./groups";
import type { Order } from "./runs-table";
import { anythingRuns, type Filter, type ListCard, type Sort, shownCards } from "./state";

export type { Problem } from "../lib/store";
export type DetailsTab = "checkpoints" | "log" | "settings" | "advice";
export type Open =
  | { kind: "delete" | "stop" | "menu" | "rename" | "longer" | "export" | "template" }
  | { kind: "details"; tab: DetailsTab }
  /** The table of a group, with the details of one of its runs, or the question whether to stop it. */
  | { kind: "layers"; details?: string; tab?: DetailsTab; stop?: string };

export interface FormRequest {
  /** The run whose settings it starts from (Edit and retry). */
  from?: wire.Card;
  /** It is another run, not a retry of that one. */
  duplicate?: boolean;
  /** Settings that are changed then, as advice names them. */
  changes?: Record<string, unknown>;
  template?: { id: string; name: string };
  preset?: wire.PresetData;
}

export const SELECTION = "selection";

/** The state, in which cards that did not change are the same objects: a list of hundreds is not drawn anew. */
export function parserThatKeeps(): (value: unknown) => wire.PanelState | null {
  let known = new Map<string, { text: string; card: wire.Card }>();
  return (value) => {
    const state = stateOf(value, wire.EMPTY_STATE);
    if (state === null) return null;
    const next: typeof known = new Map();
    const cards = state.cards.map((card) => {
      const text = JSON.stringify(card);
      const before = known.get(card.id);
      const kept = before?.text === text ? before : { text, card };
      next.set(card.id, kept);
      return kept.card;
    });
    known = next;
    return { ...state, cards };
  };
}

export class Store extends BaseStore<wire.PanelState, wire.PanelCommand, Open> {
  readonly filter = signal<Filter>("all");
  readonly search = signal("");
  readonly sort = signal<Sort>("active");
  /** Rows in place of cards; their order (none: as `sort` says), the columns that are not shown, the run that is open in it. */
  readonly table = signal(false);
  readonly order = signal<Order | null>(null);
  readonly hidden = signal<readonly string[]>([]);
  readonly row = signal<string | null>(null);
  readonly form = signal<FormRequest | null>(null);
  readonly templates = signal(false);
  readonly bulk = signal<Bulk | null>(null);
  /** What was typed into a form that was closed without Cancel. */
  draft: Record<string, string | boolean> | null = null;
  private readonly chosen = new Chosen<wire.PanelState["charts"]>();
  /** The card on which an SAE was opened. */
  private cameFrom: string | null = null;

  constructor(model: Model, host: Element, stop: AbortSignal) {
    super(model, host, stop, wire.EMPTY_STATE, parserThatKeeps());
    this.follow((before, after) => {
      for (const line of statusChanges(before.cards, after.cards)) this.announce(line);
      this.unmarkChanged(before.cards, after.cards, ({ status, sae_id }) => `${status} ${sae_id}`);
    }, anythingRuns);
  }

  /** Ids of the checked runs. A set that stays the same one until another run is checked. */
  readonly checked: ReadonlySignal<ReadonlySet<string>> = computed(() => {
    const ids = this.charts().training_ids;
    const same = ids.length === this.last.size && ids.every((id) => this.last.has(id));
    if (!same) this.last = new Set(ids);
    return this.last;
  });
  private last: ReadonlySet<string> = new Set();

  charts(): wire.PanelState["charts"] {
    return this.chosen.over(this.state.value.charts);
  }

  async changeCharts(change: Partial<wire.ChartLook>): Promise<void> {
    this.chosen.take(change);
    try {
      await this.rpc.send({ kind: "chart", ...change });
      this.chosen.forget(change, true);
    } catch (error) {
      this.chosen.forget(change);
      if (!("theme" in change)) this.fail("charts", error); // nobody asked for that one: it follows the page
    }
  }

  /** Takes a run off the charts: one that is selected is so no more. */
  undraw(id: string): void {
    if (this.checked.value.has(id)) this.select(id, false);
    else void this.changeCharts({ followed: this.charts().followed.filter((other) => other !== id) });
  }

  /** Closes what is open in the cards; where something is open inside of a table of layers, only that. */
  closeInner(): void {
    const open = [...this.open.value];
    const inner = open.some(([, what]) => what.kind === "layers" && (what.details || what.stop));
    const left = open.map(([id, what]) => [id, what.kind === "layers" ? { kind: "layers" } : what] as [string, Open]);
    this.open.value = new Map(inner ? left : []);
  }

  /** Closes the question, form or menu that led to an action; what is looked at, layers or details, stays open. */
  private closeAsked(key: string): void {
    const kind = this.open.value.get(key)?.kind;
    if (kind !== "layers" && kind !== "details") this.openFor(key, undefined);
  }

  /** What the list shows one by one: runs of one job are one card, and a row each. */
  readonly entries: ReadonlySignal<readonly ListCard[]> = computed(() =>
    this.table.value ? this.state.value.cards : listCards(this.state.value.cards),
  );

  /** Ids of the runs that filter and search leave in the list. */
  readonly shown: ReadonlySignal<ReadonlySet<string>> = computed(() => {
    const shown = shownCards(this.entries.value, this.filter.value, this.search.value, this.sort.value);
    return new Set(shown.flatMap((card) => (card.members ?? [card]).map((one) => one.id)));
  });

  select(id: string, checked: boolean): void {
    const ids = this.charts().training_ids.filter((other) => other !== id);
    void this.changeCharts({ training_ids: checked ? [...ids, id] : ids });
  }

  selectAll(ids: readonly string[]): void {
    void this.changeCharts({ training_ids: [...ids] });
  }

  selection(): wire.Card[] {
    const chosen = new Set(this.charts().training_ids);
    return this.state.value.cards.filter((card) => chosen.has(card.id));
  }

  /** Does something to several runs; what fails is told, the others are done all the same. */
  async actOn(key: string, cards: readonly wire.Card[], action: wire.BulkAction): Promise<void> {
    if (key === SELECTION) this.bulk.value = null;
    else this.closeAsked(key);
    this.outcome.value = null;
    const training_ids = cards.map((card) => card.id);
    this.mark(training_ids, action);
    const command = { kind: "run_actions", action, training_ids } as const;
    const done = (await this.command(key, wordOf(action), command))?.value;
    this.unmark(done ? training_ids.filter((id) => !done.done.includes(id)) : training_ids, action);
    if (!done) return;
    this.unmark(done.done, action, action !== "retry"); // nothing becomes of the run itself
    this.outcome.value = outcomeWords(action, done);
    if (done.done.length && action === "retry") {
      this.selectAll(this.charts().training_ids.filter((id) => !done.done.includes(id)));
      this.filter.value = "all"; // the new runs are not among those that failed
    }
    if (done.done.length && action === "delete") {
      this.announce(done.done.length === 1 ? "Deleted." : `${done.done.length} trainings deleted.`);
    }
  }

  async actOnGroup(group: string, cards: readonly wire.Card[], action: wire.GroupActionName): Promise<void> {
    this.closeAsked(group);
    const ids = cards.map((card) => card.id);
    this.mark(ids, action);
    const answer = await this.command(group, wordOf(action), { kind: "group_action", action, group_id: group });
    this.unmark(ids, action, answer !== null && action !== "retry");
    const made = answer?.value?.group_id;
    if (action === "retry" && made) this.focusCard.value = made;
  }

  async export(key: string, cards: readonly wire.Card[], folder: string): Promise<boolean> {
    this.outcome.value = null;
    this.say(key);
    const training_ids = cards.map((card) => card.id);
    const answer = await this.command(key, "Export", { kind: "export_runs", training_ids, folder });
    const done = answer?.value;
    if (!done) return false;
    this.outcome.value = outcomeWords("export", done);
    const [first] = done.paths;
    // Each has a folder of its own in the one that was asked for, of which Python says where it is.
    const where = first?.replace(/[\\/][^\\/]*$/, "") ?? folder;
    if (done.done.length > 1) this.say(key, `${done.done.length} trainings are in ${where}.`);
    else if (first) this.say(key, `Its files are in ${first}.`);
    return done.done.length > 0;
  }

  /** Shows an SAE in the place of the runs. `key`: the card where that was asked, which gets the focus on the way back. */
  async openSae(key: string, sae: string | null): Promise<void> {
    if (sae === null) return;
    if (this.open.value.get(key)?.kind === "menu") this.openFor(key, undefined);
    this.cameFrom = key;
    await this.command(key, "Open SAE", { kind: "open_sae", sae_id: sae });
  }

  async closeSae(): Promise<void> {
    this.focusCard.value = this.cameFrom;
    await this.command("panel", "Back to trainings", { kind: "open_sae", sae_id: null });
  }

  /** Does something to a run. It counts as under way until the run's state shows it, or nothing came of it. */
  async act(card: wire.Card, action: wire.Action): Promise<void> {
    this.closeAsked(card.id);
    this.mark([card.id], action);
    const command = { kind: "run_action", action, training_id: card.id } as const;
    const answer = await this.command(card.id, wordOf(action), command);
    this.unmark([card.id], action, answer !== null && action !== "retry" && action !== "checkpoint");
    if (answer && action === "retry") this.focusAnswer(answer);
  }

  async copyCode(id: string): Promise<void> {
    this.openFor(id, undefined);
    const answer = await this.command(id, "Copy as Python", { kind: "run_code", training_id: id });
    const text = answer?.value?.text;
    if (text === undefined) return;
    if (await copyText(text)) this.announce("Code copied.");
    else this.refuse(id, "This page may not use the clipboard.", text);
  }

  async trainDemo(): Promise<void> {
    const answer = await this.command("panel", "Training the demo", { kind: "train_demo" });
    if (answer) this.focusAnswer(answer);
  }

  focusAnswer(answer: Answer<{ training_id?: string } | null>): void {
    if (answer.value?.training_id !== undefined) this.focusCard.value = answer.value.training_id;
  }
}
