/**
 * The steering widget without a notebook: `npm run demo`, then serve js/demo/dist and open index.html?widget=steering.
 * &case=done|next|empty|problem|chosen|writing|presets|hostile|many & theme=light|dark
 */
import widget from "../src/index";
import { FakeSteering, type SteeringOptions } from "./fake-steering";
import * as fixtures from "./steering-fixtures";

const query = new URLSearchParams(location.search);
if (query.get("theme") === "dark") document.body.classList.add("dark");
const name = query.get("case") ?? "done";

let state = fixtures.steeringState({ generated: 1, swept: 2 });
const options: SteeringOptions = {
  presets: [
    {
      name: "ships",
      features: 3,
      saes: ["demo-l2-topk-16k"],
      prompt: fixtures.PROMPT,
      saved_at: 1_790_000_000,
      problem: "",
    },
    { name: "broken", features: 0, saes: [], prompt: "", saved_at: 1_780_000_000, problem: "This is not JSON." },
  ],
};
const { run } = state;
if (name === "empty") state = fixtures.steeringState({ rows: [] });
if (name === "writing") {
  const now = { number: 1, kind: "generate", status: "running", phase: "writing" } as const;
  state = fixtures.steeringState({
    run: {
      ...run,
      ...now,
      texts: [
        { run: "baseline", strength: null, tokens: 4, text: " village and sat for" },
        { run: "steered", strength: null, tokens: 3, text: " ship and stood" },
      ],
    },
  });
}
if (name === "problem") {
  options.texts = fixtures.texts({
    notes: [
      "The change is large: ‖Δ‖ / ‖h‖ is 1.52. Text usually breaks above 1. For feature 7451, try strengths between " +
        "−5.2 and 5.2.",
    ],
  });
  const problem = {
    what: "Nothing was generated: the prompt is 249 tokens and 60 new ones are asked, but the context is 256.",
    where: null,
    hint: "Shorten the prompt by 53 tokens or ask for 7.",
    kind: "error",
  };
  state = {
    ...state,
    run: { ...run, number: 3, status: "failed", problem },
    gauge: { ratio: 1.52, over: "steered tokens" },
  };
}
if (name === "chosen") state = { ...state, settings: { ...state.settings, positions: [2, 3] } };
if (name === "hostile") {
  const rows = [
    fixtures.row({ label: fixtures.HOSTILE, sae: fixtures.HOSTILE }),
    fixtures.row({
      key: "f2",
      index: 4,
      label: "\u202Eevil",
      mode: "add",
      strength: 0,
      a_max: null,
      problem: {
        what: "Feature 4 did not fire over 8,192 tokens of the demo corpus (an estimate).",
        where: null,
        hint: "Its largest activation is not known, so its strength is an activation.",
        kind: "warn",
      },
    }),
  ];
  state = { ...state, rows, settings: { ...state.settings, prompt: fixtures.HOSTILE } };
  const pieces = [fixtures.HOSTILE, "\u202E", "\n", "x".repeat(300)];
  const text = { ...fixtures.texts().baseline, pieces, changed: [0, 1] };
  options.texts = fixtures.texts({ baseline: text, steered: text, prompt_pieces: [fixtures.HOSTILE] });
}

const el = document.createElement("div");
document.getElementById("main")?.append(el);
const model = new FakeSteering(state, options);
widget.render({ model: model as never, el });
Object.assign(window, { model });
const press = (label: string) =>
  setTimeout(() => document.querySelector<HTMLElement>(`[aria-label="${label}"]`)?.click(), 300);
if (name === "next") press("Token 1: ·ship");
if (name === "presets") {
  setTimeout(() => [...document.querySelectorAll("button")].find((b) => b.textContent === "Presets")?.click(), 200);
}
