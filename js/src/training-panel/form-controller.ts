/** The life of one opened form: asks for its fields, checks while the user types, starts the training. */
import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { asFailure, isAbort } from "../lib/rpc";
import type { CheckResult, ConfigData, FormData, FormField } from "../lib/wire";
import * as form from "./form-state";
import type { FormRequest, Problem, Store } from "./store";

const CHECK_AFTER = 300; // ms without typing
const AGAIN_AFTER = 1500; // ms until Python is asked again about what it was still looking up

export class FormController {
  readonly data = signal<FormData | null>(null);
  readonly values: Signal<form.Values> = signal({});
  readonly check = signal<CheckResult | null>(null);
  /** From an edit, or the opening, until the answer about what stands in the fields now. */
  readonly checking = signal(false);
  /** Fields of which it is not known yet what they name: a model may have to be found on the network first. */
  readonly lookingUp: ReadonlySignal<readonly string[]> = computed(() =>
    this.checking.value ? this.unknown.value : [],
  );
  private readonly unknown = signal<readonly string[]>(["model"]);
  readonly starting = signal(false);
  readonly late = signal<string | null>(null);
  readonly problem = signal<Problem | null>(null);
  /** Errors Python reported, without those of fields that were edited since. */
  readonly reported = signal<form.Errors>({});
  readonly focus = signal<{ name: string } | null>(null);

  readonly fields: ReadonlySignal<FormField[]> = computed(() =>
    this.data.value ? form.visibleFields(this.data.value, this.values.value) : [],
  );
  private readonly parsed = computed(() => form.toConfig(this.fields.value, this.values.value));
  readonly errors: ReadonlySignal<form.Errors> = computed(() => {
    const shown = new Set(form.fieldOrder(this.fields.value));
    const found = { ...this.reported.value, ...this.parsed.value.errors };
    const all = form.placeHookError(found, this.values.value, this.check.value?.model?.heads ?? null);
    // An error of a field that another architecture had is no longer one.
    return Object.fromEntries(Object.entries(all).filter(([name]) => shown.has(name) || !this.isField(name)));
  });

  private timer: ReturnType<typeof setTimeout> | undefined;
  /** A check is under way; fields were edited since it was sent. */
  private asking = false;
  /** The layer was not chosen by hand, so it follows a model that was. */
  private layerFollows = true;
  private isNewModel = false;
  private edited = false;
  private readonly closed = new AbortController();

  constructor(
    private readonly store: Store,
    private readonly request: FormRequest,
  ) {}

  private get drafts(): boolean {
    return !this.request.from && !this.request.template && !this.request.preset;
  }

  private isField(name: string): boolean {
    return this.data.value?.fields.some((field) => field.name === name) ?? false;
  }

  async open(): Promise<void> {
    this.problem.value = null;
    try {
      const answer = await this.store.rpc.send(
        {
          kind: "form_schema",
          training_id: this.request.from?.id ?? null,
          template_id: this.request.template?.id ?? null,
          preset: this.request.preset?.name ?? null,
        },
        { signal: this.closed.signal, onLate: (late) => this.setLate(late, "The form") },
      );
      const data = answer.value;
      const draft = this.drafts ? this.store.draft : null;
      this.values.value = form.withChanges(data, { ...form.initialValues(data), ...draft }, this.request.changes);
      this.data.value = data;
      this.checking.value = true;
      void this.runCheck();
    } catch (error) {
      if (!isAbort(error)) this.problem.value = asFailure(error);
    }
  }

  close(): void {
    clearTimeout(this.timer);
    this.closed.abort();
  }

  /** Forgets what was typed; without this it is there when the form opens again. */
  dropDraft(): void {
    if (this.drafts) this.store.draft = null;
  }

  set(name: string, value: string | boolean): void {
    const next = form.change(this.values.value, name, value);
    this.values.value =
      name === "model" && this.data.value ? form.followModel(this.data.value, this.values.value, next) : next;
    if (form.HOOK_FIELDS.includes(name)) this.layerFollows = false;
    if (name === "model") this.isNewModel = true;
    if (this.drafts) this.store.draft = this.values.value;
    const left = { ...this.reported.value };
    for (const one of form.HOOK_FIELDS.includes(name) ? form.HOOK_FIELDS : [name]) delete left[one];
    this.reported.value = left;
    // What is shown about the old value must not stand beside the new one.
    if (this.check.value) this.check.value = form.stillKnown(this.check.value, name);
    if (name === "model" && !this.unknown.value.includes(name)) this.unknown.value = [...this.unknown.value, name];
    this.edited = true;
    this.checking.value = true;
    this.checkAfter(CHECK_AFTER);
  }

  /** Puts several values into the form, as Python has them; what the form has no field for is left out. */
  fill(values: Record<string, unknown>): void {
    for (const field of this.data.value?.fields ?? []) {
      if (field.name in values) this.set(field.name, form.display(field, values[field.name]));
    }
  }

  private checkAfter(delay: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.timer = undefined;
      void this.runCheck();
    }, delay);
  }

  /** A field was left: numbers get their separators. */
  leave(field: FormField): void {
    const text = this.values.value[field.name];
    if (typeof text !== "string") return;
    const tidied = form.tidy(field, text);
    if (tidied !== text) this.values.value = { ...this.values.value, [field.name]: tidied };
  }

  /** Asks about what stands in the fields now: one question at a time, so that a busy kernel finds one in its queue. */
  private async runCheck(): Promise<void> {
    if (this.asking) return;
    this.asking = true;
    this.edited = false;
    this.checking.value = true;
    const { config, over } = this.parsed.value;
    try {
      const command = { kind: "check" as const, config, over };
      const { value: check } = await this.store.rpc.send(command, { signal: this.closed.signal });
      if (!this.edited) {
        this.check.value = check;
        this.unknown.value = check.pending;
        this.followLayers(check.model?.layers ?? null);
        if (!this.edited) this.report(check.fields);
        if (check.pending.length > 0) this.checkAfter(AGAIN_AFTER);
      }
    } catch (error) {
      if (isAbort(error)) return;
      if (!this.edited) this.problem.value = asFailure(error);
    } finally {
      this.asking = false;
    }
    if (this.timer !== undefined) return;
    if (this.edited) void this.runCheck();
    else this.checking.value = false;
  }

  /** Moves the layer to the middle of another model, and has it checked again. */
  private followLayers(layers: number | null): void {
    if (layers === null || !this.isNewModel) return;
    this.isNewModel = false;
    const middle = String(Math.floor(layers / 2));
    if (!this.layerFollows || this.values.value[form.LAYER] === middle) return;
    this.values.value = form.change(this.values.value, form.LAYER, middle);
    if (this.drafts) this.store.draft = this.values.value;
    this.edited = true;
  }

  /** Errors that Python found, but for fields that the page itself could not read: it only knows that they are missing. */
  private report(errors: form.Errors): void {
    const unread = this.parsed.value.errors;
    this.reported.value = Object.fromEntries(Object.entries(errors).filter(([name]) => !(name in unread)));
  }

  config(): ConfigData {
    return this.parsed.value.config;
  }

  nameNow(): string {
    return String(this.values.value.name || this.check.value?.name || "");
  }

  /** Are several trainings to run in a job for each place? */
  readonly spread = signal(false);

  /** How many trainings Start begins: one for each hook name. */
  readonly count: ReadonlySignal<number> = computed(() => {
    const { over } = this.parsed.value;
    return over ? (Object.values(over)[0]?.length ?? 1) : 1;
  });

  /** Moves the focus to the first field that needs attention; false if there is none. */
  focusBad(): boolean {
    const bad = form.firstBad(this.fields.value, this.errors.value);
    if (bad !== null) this.focus.value = { name: bad };
    return bad !== null;
  }

  async start(): Promise<void> {
    if (this.starting.value || !this.data.value) return;
    this.problem.value = null;
    if (this.focusBad()) return;
    this.starting.value = true;
    clearTimeout(this.timer);
    this.timer = undefined;
    try {
      const { config, over } = this.parsed.value;
      const answer = await this.store.rpc.send(
        {
          kind: "create",
          config,
          over,
          retry_of: this.request.duplicate ? null : (this.request.from?.id ?? null),
          ...(this.spread.value && this.count.value > 1 && { spread: true }),
        },
        { signal: this.closed.signal, onLate: (late) => this.setLate(late, "Start") },
      );
      this.dropDraft();
      const { group_id: group } = (answer.value ?? {}) as { group_id?: string };
      if (group) this.store.focusCard.value = group;
      else this.store.focusAnswer(answer);
      this.store.announce(group ? `${this.count.value} trainings started` : "Training started");
      this.store.form.value = null;
    } catch (error) {
      if (isAbort(error)) return;
      const problem = asFailure(error);
      this.report(problem.fields);
      const wrong = form.firstBad(this.fields.value, this.errors.value);
      if (this.checking.value) void this.runCheck(); // the one that was about to be sent
      if (wrong !== null) this.focus.value = { name: wrong };
      else if (Object.keys(problem.fields).length === 0) this.problem.value = problem;
    } finally {
      this.starting.value = false;
    }
  }

  private setLate(late: boolean, word: string): void {
    this.late.value = late ? word : null;
  }
}
