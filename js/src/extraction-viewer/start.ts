/** *Start extraction*: first an SAE is chosen, then its options. */
import { computed, signal } from "@preact/signals";
import { Latest } from "../lib/ask";
import * as f from "../lib/format";
import { type AnswerTo, asFailure, CommandError, isAbort, type Rpc } from "../lib/rpc";
import { during, type Problem } from "../lib/store";
import type { ExtractionCheck, ExtractionField, ExtractionFormData, SaeChoices, ViewerCommand } from "../lib/wire";

const TYPING = 250; // ms after the last key of a search or a field

type Typed = Record<string, string | boolean>;

type Value = string | number | boolean | null;

/** The value of a field; what cannot be read stays text, which Python refuses in words. */
function configured(field: ExtractionField, typed: string | boolean | undefined): Value {
  if (typed === true) return field.ticked;
  if (typed === false) return field.ticked === true ? false : null;
  const text = (typed ?? "").trim();
  if (field.kind === "integer") return f.parseInteger(text) ?? (text || null);
  if (field.kind === "share") return f.parseShare(text) ?? (text || null);
  return text || null;
}

export class Starting {
  readonly step = signal<"closed" | "choose" | "options">("closed");

  // step 1
  readonly choices = signal<SaeChoices | null>(null);
  readonly source = signal<string | null>(null);
  readonly model = signal<string | null>(null);
  readonly search = signal("");
  readonly chosen = signal<string | null>(null);
  readonly importing = signal(false);

  // step 2
  readonly form = signal<ExtractionFormData | null>(null);
  readonly values = signal<Typed>({});
  readonly checks = new Latest<ExtractionCheck>();
  readonly errors = computed(() => this.checks.asked.value.data?.errors ?? {});
  readonly focus = signal<{ name: string } | null>(null);

  private readonly asking = new Latest<unknown>();
  readonly busy = computed(() => this.asking.asked.value.busy);
  readonly submitting = signal(false);
  readonly problem = signal<Problem | null>(null);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private again: string | null = null; // an extraction whose values are taken

  constructor(
    private readonly rpc: Rpc,
    private readonly onStarted: (extraction: string) => void,
    private readonly onClosed: () => void,
  ) {}

  get shown(): boolean {
    return this.step.value !== "closed";
  }

  open(): void {
    this.step.value = "choose";
    this.again = null;
    void this.list();
  }

  /** The options of an SAE, filled in as an earlier extraction had them if one is named. */
  async openFor(sae: string, extraction: string | null = null): Promise<void> {
    this.chosen.value = sae;
    this.again = extraction;
    this.step.value = "choose";
    await this.proceed();
    const failed = this.problem.value;
    if (this.step.value !== "choose" || failed === null) return;
    await this.list(); // another one may do
    this.problem.value = failed;
  }

  close(): void {
    if (!this.shown) return;
    this.step.value = "closed";
    this.giveUp();
    this.onClosed();
    this.form.value = null;
    this.checks.forget();
    this.problem.value = null;
  }

  filter(change: { source?: string | null; model?: string | null }): void {
    if (change.source !== undefined) this.source.value = change.source;
    if (change.model !== undefined) this.model.value = change.model;
    void this.list();
  }

  find(text: string): void {
    this.search.value = text;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.list(), TYPING);
  }

  async list(): Promise<void> {
    const command: ViewerCommand = {
      kind: "list_saes",
      source: this.source.value,
      model: this.model.value,
      search: this.search.value,
    };
    const choices = await this.ask(command);
    if (choices === null) return;
    this.choices.value = choices;
    const free = choices.rows.filter((row) => row.state === "ok");
    if (!free.some((row) => row.id === this.chosen.value)) this.chosen.value = free[0]?.id ?? null;
  }

  /** Chooses what came. */
  async importTrainings(ids: readonly string[]): Promise<void> {
    const answer = await during(this.importing, this.ask({ kind: "import_trainings", training_ids: [...ids] }));
    if (answer === null) return;
    [this.source.value, this.model.value, this.search.value] = [null, null, ""]; // which might hide it
    this.chosen.value = answer.done[0] ?? this.chosen.value;
    await this.list();
    const failed = answer.problems[0];
    if (failed) this.problem.value = { ...failed, fields: {} }; // its place is the training's name
  }

  async proceed(): Promise<void> {
    const sae_id = this.chosen.value;
    if (sae_id === null) return;
    const form = await this.ask({ kind: "extraction_form", sae_id, extraction_id: this.again });
    if (form === null) return;
    this.form.value = form;
    this.values.value = Object.fromEntries(form.fields.map((field) => [field.name, field.value]));
    this.checks.forget();
    this.step.value = "options";
    void this.verify();
  }

  back(): void {
    this.giveUp();
    this.problem.value = null;
    this.again = null;
    this.step.value = "choose";
    void this.list();
  }

  set(name: string, value: string | boolean): void {
    this.values.value = { ...this.values.value, [name]: value };
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.verify(), TYPING);
  }

  /** What is typed, as the configuration takes it. */
  private read(): Record<string, Value> {
    const fields = this.form.value?.fields ?? [];
    return Object.fromEntries(fields.map((field) => [field.name, configured(field, this.values.value[field.name])]));
  }

  /** Errors and estimate for what is typed; true when there is nothing wrong with it. */
  async verify(): Promise<boolean> {
    const sae_id = this.form.value?.sae_id;
    if (sae_id === undefined) return false;
    clearTimeout(this.timer);
    const command = { kind: "check_extraction", sae_id, values: this.read() } as const;
    const check = await this.checks.ask(async (signal) => (await this.rpc.send(command, { signal })).value, true);
    if (this.checks.value.problem) this.problem.value = this.checks.value.problem;
    return check !== null && Object.keys(this.errors.value).length === 0;
  }

  async start(): Promise<void> {
    const form = this.form.value;
    if (form === null || this.submitting.value) return;
    this.submitting.value = true;
    this.problem.value = null;
    try {
      if (!(await this.verify())) return this.focusFirstError();
      const answer = await this.rpc.send({ kind: "start_extraction", sae_id: form.sae_id, values: this.read() });
      this.close();
      this.onStarted(answer.value.extraction_id);
    } catch (error) {
      if (isAbort(error)) return;
      const fields = error instanceof CommandError ? error.failure.fields : {};
      const check = this.checks.value.data;
      if (check && Object.keys(fields).length > 0) {
        this.checks.set({ ...check, errors: fields });
        this.focusFirstError();
      } else this.problem.value = asFailure(error);
    } finally {
      this.submitting.value = false;
    }
  }

  focusFirstError(): void {
    const name = this.form.value?.fields.find((field) => field.name in this.errors.value)?.name;
    if (name !== undefined) this.focus.value = { name };
  }

  private async ask<const C extends ViewerCommand>(command: C): Promise<AnswerTo<C> | null> {
    this.asking.forget();
    this.problem.value = null;
    const answer = await this.asking.ask(async (signal) => (await this.rpc.send(command, { signal })).value);
    this.problem.value ??= this.asking.value.problem;
    return answer as AnswerTo<C> | null;
  }

  giveUp(): void {
    clearTimeout(this.timer);
    this.asking.giveUp();
    this.checks.giveUp();
  }
}
