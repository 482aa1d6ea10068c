/** *Label with a model*: whom to ask about which features, what that would cost, and how far the job is that does it. */
import { signal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { onSubmit, useOpened } from "../lib/a11y";
import { Latest } from "../lib/ask";
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { AccessToken, SettingField } from "../lib/forms";
import { Icon } from "../lib/icons";
import { Dismiss, put } from "../lib/kit";
import { Failed } from "../lib/notes";
import type { Rpc } from "../lib/rpc";
import { buttonsOf, statusOf, underWay } from "../lib/statuses";
import { line } from "../lib/tokens";
import type * as wire from "../lib/wire";
import { JobRow } from "./jobs";
import type { Store } from "./store";

const TYPED = {
  base_url: "https://api.openai.com/v1",
  model: "",
  key_env: "",
  which: "list",
  limit: "100",
  unlabelled: true,
  score: false,
  price_in: "",
  price_out: "",
  max_cost: "",
};
type Typed = typeof TYPED;

const KEY = "A variable on the kernel's machine. If empty: OPENAI_API_KEY for OpenAI, no key for others";
const COUNTED = "Labels of the offline heuristic do not count; the model's labels are shown instead of them";

/** What Python calls a field that it refuses. */
const FIELDS: Record<string, keyof Typed> = {
  model_name: "model",
  api_key_env: "key_env",
  "price.tokens_in": "price_in",
  "price.tokens_out": "price_out",
};

export class Labelling {
  readonly typed = signal<Typed>(TYPED);
  /** The newest plan, and of what; or what is wrong with what was asked. */
  readonly plan = new Latest<{ of: string; plan: wire.LabelPlan | null }>();
  /** The job whose end was seen. */
  readonly seen = signal("");

  constructor(private readonly rpc: Rpc) {}

  show(extraction_id: string, asked: wire.LabelRequest): void {
    void this.plan.ask(async (signal) => {
      const answer = await this.rpc.send({ kind: "plan_labels", extraction_id, asked }, { signal });
      return { of: JSON.stringify(asked), plan: answer.value };
    });
  }

  /** True when the job is queued. */
  async start(extraction_id: string, asked: wire.LabelRequest, key: string | null = null): Promise<boolean> {
    const started = await this.plan.ask(async (signal) => {
      await this.rpc.send({ kind: "start_labels", extraction_id, asked, key }, { signal });
      return { of: "", plan: null };
    }, true);
    return started !== null;
  }
}

/** What was typed as a request, and what is wrong with it by field. */
function requestOf(typed: Typed, index: number | null, query: wire.FeatureQuery) {
  const wrong: Partial<Record<keyof Typed, string>> = {};
  const number = (name: "price_in" | "price_out" | "max_cost") => {
    const value = f.parseNumber(typed[name]);
    if (typed[name].trim() && (value === null || value < 0)) wrong[name] = "Enter a number.";
    return value;
  };
  const limit = f.parseInteger(typed.limit);
  if (limit === null || limit < 1) wrong.limit = "Enter 1 or more.";
  const [first, second] = [number("price_in"), number("price_out")];
  const text = (value: string) => value.trim() || null;
  const asked: wire.LabelRequest = {
    llm: "openai",
    base_url: text(typed.base_url),
    model: text(typed.model),
    key_env: text(typed.key_env),
    index: typed.which === "one" ? index : null,
    query,
    limit: limit ?? 1,
    unlabelled: typed.unlabelled,
    score: typed.score,
    price: first === null && second === null ? null : [first ?? 0, second ?? 0],
    max_cost: number("max_cost"),
  };
  return { asked, wrong };
}

export function LabelModel({ store, open }: { store: Store; open: wire.OpenExtraction }) {
  const box = useOpened("input");
  const key = useRef<HTMLInputElement>(null);
  const { labelling } = store;
  const { feature, query } = store.view.value;
  const typed = labelling.typed.value;
  const { data, problem, busy } = labelling.plan.value;
  const { asked, wrong } = requestOf(typed, feature, query);
  for (const [name, said] of Object.entries(problem?.fields ?? {})) wrong[FIELDS[name] ?? (name as keyof Typed)] = said;
  const plan = data?.of === JSON.stringify(asked) && !problem ? data.plan : null;
  const close = () => {
    labelling.plan.forget();
    store.panel.value = null;
  };
  const set = (change: Partial<Typed>) => {
    labelling.plan.forget();
    labelling.typed.value = { ...typed, ...change };
  };
  const send = async () => {
    const text = key.current?.value.trim() || null;
    if (busy || (!problem && Object.keys(wrong).length > 0)) return;
    if (!plan) return labelling.show(open.id, asked);
    if (plan.requests > 0 && (await labelling.start(open.id, asked, text))) close();
  };
  const field = (name: keyof Typed, label: string, more: object = {}) => (
    <SettingField
      {...{ name, label, class: "c2s", value: typed[name], error: wrong[name], focus: null, ...more }}
      onSet={(value) => set({ [name]: value })}
    />
  );
  const which = { list: "First ones of the list", ...(feature !== null && { one: `Feature ${feature}` }) };
  const ticked = { class: "c3s" };
  return (
    <form ref={box} class="label-model" aria-label="Label with a model" noValidate onSubmit={onSubmit(() => send())}>
      <h3>Label with a model</h3>
      <fieldset>
        <legend>Model</legend>
        <div class="g">
          {field("base_url", "Address", { class: "c3s", mono: true, hint: "Any server with OpenAI's API" })}
          {field("model", "Model", { class: "c3s", mono: true, placeholder: "gpt-4o-mini" })}
          {field("key_env", "Key from variable", { class: "c3s", mono: true, hint: KEY })}
          <AccessToken
            class="c3s"
            input={key}
            label="Or type the key"
            hint="Kept in memory until the job ends, sent to this address only"
          />
        </div>
      </fieldset>
      <fieldset>
        <legend>Features</legend>
        <div class="g">
          {field("which", "Features", { class: "c3s", options: which })}
          {typed.which === "list" && field("limit", "At most", { class: "c3s", inputMode: "numeric" })}
          {typed.which === "list" && field("unlabelled", "Only those without a label", { ...ticked, hint: COUNTED })}
          {field("score", "Then judge the labels (about 5 times the requests)", ticked)}
        </div>
      </fieldset>
      <fieldset>
        <legend>Cost</legend>
        <div class="g">
          {field("price_in", "Price of 1M tokens in", { inputMode: "decimal" })}
          {field("price_out", "Price of 1M tokens out", { inputMode: "decimal" })}
          {field("max_cost", "Stop before", { inputMode: "decimal", hint: "A cost, in the currency of the prices" })}
        </div>
      </fieldset>
      {plan && <PlanBox plan={plan} />}
      {problem && Object.keys(problem.fields).length === 0 && <Failed problem={problem} />}
      <div class="ft2">
        <span class="sm t2" role="status">
          {busy ? (plan ? "Starting…" : "Reading the examples…") : ""}
        </span>
        <div class="sp" />
        <Button text="Close" onClick={close} />
        <Button
          text={plan ? "Start labelling" : "Plan"}
          kind="primary"
          submit
          disabled={busy || plan?.requests === 0}
        />
      </div>
    </form>
  );
}

function PlanBox({ plan }: { plan: wire.LabelPlan }) {
  const { features, requests, skipped, tokens_in, tokens_out, cost, prompt } = plan;
  return (
    // biome-ignore lint/a11y/useSemanticElements: a group of results, not of form fields
    <div class="bd g4 sm" role="group" aria-label="Plan">
      <p role="status">
        <b>{`${f.plural(features, "feature")}, ${f.plural(requests, "request")}`}</b>
        {`, about ${f.count(tokens_in)} tokens in and ${f.count(tokens_out)} out`}
        {cost === null ? ". Without prices the cost is not known." : `; cost about ${Number(cost.toPrecision(2))}.`}
        {skipped > 0 && ` ${f.count(skipped)} skipped: asked before, or without examples.`}
        {requests === 0 && skipped === 0 && " Nothing to ask: the features of the list have a label, or never fire."}
        {" Nothing was sent yet."}
      </p>
      {prompt && (
        <details>
          <summary>
            <Icon name="right" />
            The first prompt
          </summary>
          <pre class="xs prompt">{prompt}</pre>
        </details>
      )}
    </div>
  );
}

/** How far the job is, and how it ended. */
export function LabelJobRow({ store }: { store: Store }) {
  const job = store.state.value.labelling;
  const { seen } = store.labelling;
  if (job === null || seen.value === job.id) return null;
  const name = `Labels by ${line(job.model)}`;
  const dismiss = put(seen, job.id);
  const status = statusOf(job);
  if (["completed", "cancelled", "stopped"].includes(status))
    return (
      <NoteBox tone="info" title={`${name}.`} actions={<Dismiss onClick={dismiss} />}>
        {line(job.said)}
      </NoteBox>
    );
  const ended = status === "failed" || status === "interrupted";
  const buttons = buttonsOf(
    ["cancel"] as const,
    underWay(job, undefined, "cancel"),
    ended ? { cancel: "Dismiss" } : {},
  );
  const press = ended ? dismiss : () => store.cancelLabels(job.id);
  return <JobRow {...{ store, job, name, title: name, buttons }} onPress={() => void press()} />;
}
