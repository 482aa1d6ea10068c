/** The life of one opened form: asks for its fields, checks while the user types, starts the training. */
import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { Card, CheckResult, FormData, FormField } from "../lib/protocol";
import { asFailure, isAbort } from "../lib/rpc";
import * as form from "./form-state";
import type { Problem, Store } from "./store";

const CHECK_AFTER = 300; // ms without typing

export class FormController {
  readonly data = signal<FormData | null>(null);
  readonly values: Signal<form.Values> = signal({});
  readonly check = signal<CheckResult | null>(null);
  readonly checking = signal(false);
  readonly starting = signal(false);
  readonly late = signal<string | null>(null);
  readonly problem = signal<Problem | null>(null);
  /** Errors Python reported, without those of fields that were edited since. */
  readonly reported = signal<form.Errors>({});
  /** The field to focus, after Start found it wrong. */
  readonly focus = signal<{ name: string } | null>(null);

  readonly fields: ReadonlySignal<FormField[]> = computed(() =>
    this.data.value ? form.visibleFields(this.data.value, this.values.value) : [],
  );
  private readonly parsed = computed(() => form.toConfig(this.fields.value, this.values.value));
  readonly errors: ReadonlySignal<form.Errors> = computed(() => {
    const shown = new Set(form.fieldOrder(this.fields.value));
    const all = { ...this.reported.value, ...this.parsed.value.errors };
    // An error of a field that another architecture had is no longer one.
    return Object.fromEntries(Object.entries(all).filter(([name]) => shown.has(name) || !this.isField(name)));
  });

  private timer: ReturnType<typeof setTimeout> | undefined;
  private again = false;
  private readonly closed = new AbortController();

  constructor(
    private readonly store: Store,
    private readonly from: Card | undefined,
  ) {}

  private isField(name: string): boolean {
    return this.data.value?.fields.some((field) => field.name === name) ?? false;
  }

  async open(): Promise<void> {
    try {
      const answer = await this.store.rpc.send(
        { kind: "form_schema", training_id: this.from?.id ?? null },
        { signal: this.closed.signal, onLate: (late) => this.setLate(late, "The form") },
      );
      const data = answer.value as FormData;
      const draft = this.from ? null : this.store.draft;
      this.values.value = { ...form.initialValues(data), ...draft };
      this.data.value = data;
      void this.runCheck();
    } catch (error) {
      if (!isAbort(error)) this.problem.value = asFailure(error);
    }
  }

  /** Stops everything that is under way. */
  close(): void {
    clearTimeout(this.timer);
    this.closed.abort();
  }

  /** Forgets what was typed; without this it is there when the form opens again. */
  dropDraft(): void {
    if (!this.from) this.store.draft = null;
  }

  set(name: string, value: string | boolean): void {
    this.values.value = form.change(this.values.value, name, value);
    if (!this.from) this.store.draft = this.values.value;
    const left = { ...this.reported.value };
    const touched = [form.LAYER, form.SITE, form.HOOK].includes(name) ? [form.LAYER, form.SITE, form.HOOK] : [name];
    for (const one of touched) delete left[one];
    this.reported.value = left;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.runCheck(), CHECK_AFTER);
  }

  /** A field was left: numbers get their separators. */
  leave(field: FormField): void {
    const text = this.values.value[field.name];
    if (typeof text !== "string") return;
    const tidied = form.tidy(field, text);
    if (tidied !== text) this.values.value = { ...this.values.value, [field.name]: tidied };
  }

  /** One check at a time: a slow kernel must not work through every keystroke before it gets to Start. */
  private async runCheck(): Promise<void> {
    if (this.checking.value) {
      this.again = true;
      return;
    }
    this.checking.value = true;
    do {
      this.again = false;
      const asked = this.values.value;
      try {
        const command = { kind: "check" as const, config: this.parsed.value.config };
        const answer = await this.store.rpc.send(command, { signal: this.closed.signal });
        const check = answer.value as CheckResult;
        this.check.value = check;
        this.reported.value = this.current(check.fields, asked);
      } catch (error) {
        if (isAbort(error)) return;
        this.problem.value = asFailure(error);
      }
    } while (this.again);
    this.checking.value = false;
  }

  /**
   * What Python reported about the values `asked`, as far as it still holds: not for fields edited since, nor for those
   * that the page itself could not read (Python only knows that they are missing).
   */
  private current(errors: form.Errors, asked: form.Values): form.Errors {
    const unread = this.parsed.value.errors;
    const now = this.values.value;
    return Object.fromEntries(
      Object.entries(errors).filter(([name]) => !(name in unread) && asked[name] === now[name]),
    );
  }

  async start(): Promise<void> {
    if (this.starting.value || !this.data.value) return;
    this.problem.value = null;
    const bad = form.firstBad(this.fields.value, this.errors.value);
    if (bad !== null) {
      this.focus.value = { name: bad };
      return;
    }
    this.starting.value = true;
    clearTimeout(this.timer);
    const asked = this.values.value;
    try {
      const answer = await this.store.rpc.send(
        { kind: "create", config: this.parsed.value.config },
        { signal: this.closed.signal, onLate: (late) => this.setLate(late, "Start") },
      );
      this.dropDraft();
      this.store.focusAnswer(answer);
      this.store.announce("Training started");
      this.store.form.value = null;
    } catch (error) {
      if (isAbort(error)) return;
      const problem = asFailure(error);
      this.reported.value = this.current(problem.fields, asked);
      const wrong = form.firstBad(this.fields.value, this.errors.value);
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
