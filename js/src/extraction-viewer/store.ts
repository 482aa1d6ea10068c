/** The extraction viewer on the page: its state, what is shown, and the commands it sends. */
import { signal } from "@preact/signals";
import * as f from "../lib/format";
import type { Model } from "../lib/rpc";
import { isActive, statusChanges, wordOf } from "../lib/statuses";
import { BaseStore, during, withKey } from "../lib/store";
import { line } from "../lib/tokens";
import * as wire from "../lib/wire";
import { FeatureView } from "./feature";
import { Labelling } from "./label-model";
import { FeatureList } from "./list";
import { Preview } from "./preview";
import { PromptStore } from "./prompt";
import { Starting } from "./start";
import { anythingRuns, changedIn, NOWHERE, statusWord } from "./words";

export interface CardOpen {
  kind: "menu" | "delete" | "export";
}
export type Panel =
  | { kind: "labels" | "exports" | "import" | "label_all" | "label_model" }
  | { kind: "export"; what: wire.ExportKind; one: boolean };

/** Where failures of the whole widget show up, and those of what is on the page. */
export const WIDGET = "viewer";
export const PAGE = "page";
export const PANEL = "panel";

const REST = 350; // ms without a change before Python is told what is shown
const ECHO = 5000; // ms in which what was told comes back

export class Store extends BaseStore<wire.ViewerState, wire.ViewerCommand, CardOpen> {
  readonly view = signal<wire.ViewerView>(wire.EMPTY_VIEWER.view);
  readonly list: FeatureList;
  readonly feature: FeatureView;
  readonly prompt: PromptStore;
  readonly preview: Preview;
  readonly starting: Starting;
  readonly labelling: Labelling;
  readonly panel = signal<Panel | null>(null);
  /** Stars that were just set or taken, by feature, until Python has answered. */
  readonly stars = signal<ReadonlyMap<number, boolean>>(new Map());
  readonly suggesting = signal(false);
  readonly saving = signal(false);
  readonly working = signal(false);
  readonly demoComing = signal(false);
  private told: { view: string; at: number }[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** The next list is to be scrolled to the feature that is shown; after a search or in another order it begins at its top. */
  private seeking = true;
  private stepping = new AbortController();
  /** What had the focus when *Steer* was pressed here. */
  private steered: Element | null = null;

  constructor(model: Model, host: Element, stop: AbortSignal) {
    super(model, host, stop, wire.EMPTY_VIEWER);
    this.list = new FeatureList(this.rpc, (rows) => {
      const first = rows[0];
      if (first && this.view.value.feature === null) this.show({ feature: first.index });
      else if (this.seeking) void this.find();
      this.seeking = false;
      void this.feature.lookAround();
    });
    this.feature = new FeatureView(
      this.rpc,
      () => this.opened?.live ?? false,
      (notes) => this.list.update(notes.index, rowOfNotes(notes)),
      (index) => this.list.beside(index),
    );
    this.labelling = new Labelling(this.rpc);
    this.feature.text.subscribe((test) => {
      if (test !== this.view.value.test) this.show({ test });
    });
    this.prompt = new PromptStore(this.rpc, (prompt) => this.show({ prompt }));
    this.preview = new Preview(host, stop, (index, signal) => this.feature.read(Number(index), signal));
    this.starting = new Starting(
      this.rpc,
      (id) => {
        this.show({ tab: "jobs" });
        this.focusCard.value = id;
      },
      () => {
        if (this.view.value.dialog_sae !== null) this.show({ dialog_sae: null });
      },
    );
    const unsubscribe = this.starting.step.subscribe((step) => {
      if (step !== "choose" && this.state.value.below === "download") this.showDownload(false);
    });
    this.follow(
      (before, after, first) => this.onState(before, after, first),
      ({ cards, labelling }) => anythingRuns(cards) || (labelling !== null && isActive(labelling)),
    );
    stop.addEventListener("abort", () => {
      unsubscribe();
      clearTimeout(this.timer);
      this.stepping.abort();
      this.starting.giveUp();
      this.list.giveUp();
      this.feature.giveUp();
      this.prompt.reading.giveUp();
    });
  }

  // -------------------------------------------------------------------------------------------- what is shown

  /** The extraction on the page; null while none is, or another one is being opened. */
  get opened(): wire.OpenExtraction | null {
    const { open } = this.state.value;
    return open && open.id === this.view.value.extraction_id ? open : null;
  }

  /** Changes what is shown; Python is told when nothing has changed for a moment. */
  show(change: Partial<wire.ViewerView>): void {
    this.view.value = { ...this.view.value, ...change };
    this.use();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell(), "extraction_id" in change ? 0 : REST);
  }

  setQuery(change: Partial<wire.FeatureQuery>): void {
    this.show({ query: { ...this.view.value.query, ...change } });
  }

  openExtraction(id: string): void {
    const sameSae = this.opened?.versions.some((one) => one.value === id);
    this.panel.value = null;
    this.seeking = true;
    this.show({ extraction_id: id, tab: "features", ...(sameSae ? {} : { feature: null }) });
  }

  setTab(tab: wire.Tab): void {
    this.panel.value = null;
    this.show({ tab });
  }

  openFeature(index: number, row: number | null = this.list.rowOf(index)): void {
    this.dismiss(PAGE);
    if (!this.preview.pinned.value) this.preview.show(null);
    this.show({ feature: index, tab: "features" });
    if (row !== null) this.list.moveTo(row);
    else void this.find();
  }

  private async tell(): Promise<void> {
    const view = this.view.value;
    const text = JSON.stringify(view);
    const before = this.state.value.view;
    if (text === JSON.stringify(before)) return;
    this.told.push({ view: text, at: performance.now() });
    const answer = await this.command(WIDGET, "What is shown", { kind: "show_view", view, before });
    const { open } = this.state.value;
    // it could not be opened: back to what is open
    if (answer === null && this.view.value.extraction_id !== (open?.id ?? null)) {
      this.view.value = { ...this.view.value, extraction_id: open?.id ?? null };
      this.use();
    }
  }

  /** Takes over what another view or Python shows now; what comes back of what was told here is no news. */
  private adopt(before: wire.ViewerState, after: wire.ViewerState, first: boolean): void {
    const text = JSON.stringify(after.view);
    const now = performance.now();
    this.told = this.told.filter((one) => now - one.at < ECHO);
    const echo = this.told.findIndex((one) => one.view === text);
    if (echo >= 0) this.told = this.told.slice(echo + 1);
    else if (first) this.follows(after.view);
    else if (text !== JSON.stringify(before.view)) this.follows(changedIn(before.view, after.view));
    // opened without being asked for: by Python, or the only one there is
    const { extraction_id } = this.view.value;
    const gone = extraction_id !== null && after.open === null && before.open?.id === extraction_id;
    if (extraction_id === null || gone) this.view.value = { ...this.view.value, extraction_id: after.open?.id ?? null };
  }

  private follows(change: Partial<wire.ViewerView>): void {
    const before = this.view.value;
    const after = { ...before, ...change };
    this.view.value = after;
    this.askedFor(before.dialog_sae, after.dialog_sae);
    if (change.test !== undefined) this.feature.text.value = change.test;
    if (change.prompt !== undefined) this.prompt.text.value = change.prompt;
    this.seeking = true;
    const sameList = JSON.stringify(before.query) === JSON.stringify(after.query);
    if (sameList && before.feature !== after.feature) queueMicrotask(() => this.find());
  }

  /** *Extract* was pressed in the SAE browser, or `viewer.extract(…)` called: the dialog opens with that SAE. */
  private askedFor(before: string | null, sae: string | null): void {
    if (sae === before) return;
    if (sae !== null) void this.starting.openFor(sae);
    else this.starting.close();
  }

  private onState(before: wire.ViewerState, after: wire.ViewerState, first: boolean): void {
    this.adopt(before, after, first);
    const said = first ? [] : statusChanges(before.cards, after.cards, statusWord);
    for (const words of said) this.announce(line(words));
    if (!first && before.features_revision !== after.features_revision) {
      this.list.refresh();
      this.feature.refresh();
      this.preview.show(this.preview.at.value, this.preview.pinned.value);
    }
    const [had, has] = [before, after].map(({ cards }) => cards.find(({ id }) => id === after.open?.id)?.has_logits);
    if (!first && had === false && has) this.feature.logitsCame();
    if (before.n_saes !== after.n_saes && this.starting.step.value === "choose") void this.starting.list();
    if (!first && before.below === "steering" && after.below === "") this.steeringClosed();
    this.use();
  }

  private steeringClosed(): void {
    const { steered } = this;
    if (!(steered instanceof HTMLElement)) return;
    // after the host has taken the other widget, and the focus with it, out of the page
    for (const wait of [0, 150]) setTimeout(() => steered.isConnected && steered.focus(), wait);
  }

  private use(): void {
    const open = this.opened;
    const { query, feature, tab } = this.view.value;
    if (open === null) return;
    if (open.id !== this.feature.extraction) this.preview.show(null);
    this.list.use(open.id, query);
    this.feature.show(open.id, feature !== null && feature < open.d_sae ? feature : null);
    this.prompt.use(open.id);
    const { reading, text } = this.prompt;
    const read = reading.value;
    const waits = tab === "prompt" && text.value !== "" && !read.data && !read.busy && !read.problem;
    if (waits && open.live && text.value === this.view.value.prompt) void this.prompt.read();
  }

  // -------------------------------------------------------------------------------------------- one to the next

  private async find(): Promise<void> {
    const { feature, query } = this.view.value;
    if (feature === null || this.opened === null) return;
    const plain = query.search === "" && query.show === "all" && query.sort === "index" && !query.descending;
    const known = plain ? feature : this.list.rowOf(feature);
    if (known !== null) return this.list.moveTo(known);
    const place = await this.ask("here", feature);
    if (place?.row != null && this.view.value.feature === feature) this.list.moveTo(place.row);
  }

  async step(step: Exclude<wire.Step, "here">): Promise<void> {
    const { feature } = this.view.value;
    const by = { previous: -1, next: 1, random: 0, next_live: 0 }[step];
    const row = feature === null ? null : this.list.rowOf(feature);
    const near = by === 0 || row === null ? null : this.list.row(row + by);
    if (near && row !== null) return this.openFeature(near.index, row + by);
    const place = await this.ask(step, feature ?? 0);
    if (place === null) return;
    if (place.index === null) this.announce(NOWHERE[step]);
    else this.openFeature(place.index, place.row);
  }

  private async ask(step: wire.Step, index: number): Promise<wire.FeaturePlace | null> {
    const extraction_id = this.opened?.id;
    if (extraction_id === undefined) return null;
    this.stepping.abort();
    this.stepping = new AbortController();
    const { query } = this.view.value;
    const command: wire.ViewerCommand = { kind: "step_feature", extraction_id, query, index, step };
    const answer = await this.command(PAGE, "The next feature", command, { signal: this.stepping.signal });
    return answer?.value ?? null;
  }

  // -------------------------------------------------------------------------------------------- what people say

  isStarred(index: number, known: boolean): boolean {
    return this.stars.value.get(index) ?? known;
  }

  async star(index: number, starred: boolean): Promise<void> {
    this.stars.value = withKey(this.stars.value, index, starred);
    await this.edit(index, { starred }, starred ? "The star" : "Taking the star");
    if (this.stars.value.get(index) === starred) this.stars.value = withKey(this.stars.value, index, undefined);
  }

  async edit(
    index: number,
    change: { label?: string; description?: string; notes?: string; starred?: boolean },
    word = "Save",
  ): Promise<boolean> {
    const extraction_id = this.opened?.id;
    if (extraction_id === undefined) return false;
    const answer = await this.command(PAGE, word, { kind: "edit_feature", extraction_id, index, ...change });
    if (answer === null) return false;
    this.feature.takeNotes(extraction_id, answer.value);
    return true;
  }

  async suggest(index: number): Promise<wire.Suggestion | null> {
    const extraction_id = this.opened?.id;
    if (extraction_id === undefined || this.suggesting.value) return null;
    const command = { kind: "suggest_label", extraction_id, index } as const;
    const answer = await during(this.suggesting, this.command(PAGE, "Suggest", command));
    return answer?.value ?? null;
  }

  async steer(index: number): Promise<void> {
    const extraction_id = this.opened?.id;
    if (extraction_id === undefined) return;
    this.steered = document.activeElement;
    const answer = await this.command(PAGE, "Steer", { kind: "steer_feature", extraction_id, index });
    if (answer) this.announce(`Feature ${index} added to Steering.`);
  }

  // -------------------------------------------------------------------------------------------- files

  async cancelLabels(job_id: string): Promise<void> {
    await this.command(PANEL, "Cancel", { kind: "cancel_labels", job_id });
  }

  async importLabels(extraction_id: string, path: string): Promise<boolean> {
    const answer = await this.work(PANEL, "Import labels", { kind: "import_labels", extraction_id, path });
    if (answer === null) return false;
    const { imported, skipped } = answer.value;
    this.say(PANEL, `${f.plural(imported, "label")} imported${skipped ? `, ${f.count(skipped)} skipped` : ""}.`);
    return true;
  }

  async export(key: string, command: Extract<wire.ViewerCommand, { kind: "export_features" }>): Promise<boolean> {
    const answer = await this.work(key, "Export", command);
    if (answer) this.say(key, `Written to ${answer.value.path}.`);
    return answer !== null;
  }

  override say(key: string, sentence?: string): void {
    super.say(key, sentence);
    if (sentence) this.announce(sentence);
  }

  private async work<const C extends wire.ViewerCommand>(key: string, word: string, command: C) {
    if (this.working.value) return null;
    this.say(key);
    return during(this.working, this.command(key, word, command));
  }

  // -------------------------------------------------------------------------------------------- extractions

  async act(card: wire.ExtractionCard, action: wire.ExtractionAct): Promise<void> {
    this.openFor(card.id, undefined);
    this.mark([card.id], action);
    await this.command(card.id, wordOf(action), { kind: "extraction_action", extraction_id: card.id, action });
    this.unmark([card.id]);
  }

  async logits(card: wire.ExtractionCard, action: wire.LogitsAct): Promise<void> {
    const word = action === "start" ? "Compute all logits" : "The logit effects";
    const answer = await this.command(card.id, word, { kind: "logits_action", extraction_id: card.id, action });
    if (answer && action === "start") this.announce(`${card.name}: computing logit effects of all features.`);
  }

  showDownload(shown: boolean): void {
    void this.command(WIDGET, "Download from Hugging Face", { kind: "show_download", shown });
  }

  async tryDemo(): Promise<void> {
    if (this.demoComing.value) return;
    const answer = await during(this.demoComing, this.command(WIDGET, "Try the demo SAE", { kind: "try_demo" }));
    const id = answer?.value?.extraction_id;
    if (id !== undefined) this.show({ extraction_id: id, tab: "features", feature: null });
  }
}

const rowOfNotes = ({ labels, starred }: wire.FeatureNotes) => ({
  label: labels[0]?.tokens.length ? "" : (labels[0]?.text ?? ""),
  auto: labels[0] !== undefined && labels[0].source !== "user",
  starred,
});
