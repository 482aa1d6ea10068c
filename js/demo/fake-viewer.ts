/** A stand-in for the anywidget model of the extraction viewer, and for the Python half behind it. */
import type {
  FeatureLogitsData,
  FeatureNotes,
  FeatureQuery,
  FeatureRow,
  LossEffectData,
  PromptReading,
  ViewerCommand,
  ViewerState,
} from "../src/lib/wire";
import { FakeWidget } from "./fake-widget";
import {
  EXT,
  extraction,
  FIELDS,
  featurePage,
  featureRow,
  HOSTILE,
  LOGITS_JOB,
  noise,
  opened,
  SAES,
  tokenise,
  viewer,
} from "./feature-fixtures";

type Sent = ViewerCommand & { id: string };
type Failures = Partial<
  Record<ViewerCommand["kind"], { what: string; hint?: string; fields?: Record<string, string> }>
>;

export interface ViewerOptions {
  /** Never answers. */
  silent?: boolean;
  /** The kernel is busy for a while. */
  late?: boolean;
  failures?: Failures;
  /** ms that the answer to a command takes. */
  delays?: Partial<Record<ViewerCommand["kind"], number>>;
  /** Tokens and labels that nobody should trust. */
  hostile?: boolean;
  /** The library has no SAE. */
  noSaes?: boolean;
  /** What is different about loss effects. */
  loss?: Partial<LossEffectData>;
  /** What is different about logit effects. */
  logits?: Partial<FeatureLogitsData>;
}

const floats = (values: readonly number[]): DataView => new DataView(Float32Array.from(values).buffer);

export class FakeViewer extends FakeWidget<ViewerState, ViewerCommand> {
  private readonly notes = new Map<number, FeatureNotes>();

  constructor(
    state: ViewerState = viewer(),
    readonly options: ViewerOptions = {},
  ) {
    super("extraction_viewer", state);
  }

  send(content: unknown): void {
    const command = content as Sent;
    this.sent.push(command);
    if (this.options.silent) return;
    setTimeout(() => this.answer(command), this.options.late ? 2500 : 2);
  }

  private answer(command: Sent): void {
    const { id } = command;
    this.emit("msg:custom", { id, kind: "ack" }, []);
    const delay = this.options.delays?.[command.kind] ?? 5;
    const failure = this.options.failures?.[command.kind];
    setTimeout(() => {
      if (failure) return this.emit("msg:custom", { id, kind: "failure", ...failure }, []);
      const { value, values } = this.reply(command);
      const columns = values ? ["activations"] : [];
      this.emit("msg:custom", { id, kind: "result", value, columns }, values ? [floats(values)] : []);
    }, delay);
  }

  private reply(command: Sent): { value: unknown; values?: number[] } {
    const open = this.state.open ?? opened();
    switch (command.kind) {
      case "list_saes":
        return { value: this.saes(command) };
      case "extraction_form": {
        const sae = SAES.find((one) => one.id === command.sae_id);
        return {
          value: { sae_id: command.sae_id, name: sae?.name ?? "gpt2", d_sae: sae?.d_sae ?? 16_384, fields: FIELDS },
        };
      }
      case "check_extraction":
        return { value: check(command.values) };
      case "start_extraction": {
        const name = SAES.find((one) => one.id === command.sae_id)?.name ?? "new";
        const card = extraction({
          id: "ext_new",
          name,
          status: "queued",
          queue_position: 1,
          tokens_done: 0,
          fraction: 0,
        });
        this.setState({
          cards: [card, ...this.state.cards],
          total: this.state.total + 1,
          active: this.state.active + 1,
        });
        return { value: { extraction_id: "ext_new" } };
      }
      case "try_demo":
        this.setState({ open: opened(), view: { ...this.state.view, extraction_id: EXT } });
        return { value: { extraction_id: EXT } };
      case "extraction_action":
        this.act(command.extraction_id, command.action);
        return { value: null };
      case "show_download":
        this.setState({ below: command.shown ? "download" : "" });
        return { value: null };
      case "logits_action": {
        const { extraction_id, action } = command;
        const status = { start: "running", resume: "running", pause: "paused", cancel: "" }[action];
        const cards = this.state.cards.map((card) =>
          card.id === extraction_id ? { ...card, logits: status ? { ...LOGITS_JOB, status } : null } : card,
        );
        this.setState({ cards });
        return { value: null };
      }
      case "read_loss_effect":
        return { value: { index: command.index, effect: -0.184, loss: 2.31, problem: null, ...this.options.loss } };
      case "show_view": {
        const id = command.view.extraction_id;
        const named = this.state.cards.find((card) => card.id === id)?.name;
        const change = id === null ? null : id === open.id ? open : opened({ id, ...(named ? { name: named } : {}) });
        this.setState({ view: command.view, open: change });
        return { value: null };
      }
      case "query_features": {
        const rows = this.query(command.query, open.d_sae);
        const piece = rows
          .slice(command.offset, (command.offset ?? 0) + (command.limit ?? 100))
          .map((index) => this.row(index));
        return { value: { matching: rows.length, offset: command.offset, max_density: 0.04, rows: piece } };
      }
      case "step_feature": {
        const rows = this.query(command.query, open.d_sae);
        const at = rows.indexOf(command.index);
        const row = {
          here: at,
          previous: at - 1,
          next: at + 1,
          random: Math.floor(noise(this.sent.length) * rows.length),
          next_live: rows.findIndex((index, i) => i > at && featureRow(index).density > 0),
        }[command.step];
        const index = row >= 0 ? (rows[row] ?? null) : null;
        return { value: { index, row: index === null ? null : row } };
      }
      case "open_feature": {
        const { page, values } = featurePage(open, command.index, this.options.hostile);
        const notes = this.notes.get(command.index) ?? page.notes;
        return { value: { ...page, notes }, values };
      }
      case "feature_logits":
        return { value: { ...logits(command.index), ...this.options.logits } };
      case "feature_relations":
        return { value: relations(command.index, this.options.hostile) };
      case "expand_example": {
        const made = tokenise(
          `The night was dark.\nNobody on the quay could tell where the old ship lay at anchor, for her captain had put out every light, and the crew kept below until the tide would turn. ${"The sea was calm and the wind had gone to sleep. ".repeat(5)}`,
        );
        const { texts, tokens, values } = made;
        const peak = values.indexOf(38.2);
        return {
          value: { position: command.position, peak, texts, tokens, complete: true, note: "" },
          values,
        };
      }
      case "test_text": {
        const made = tokenise(command.text);
        const max = Math.max(0, ...made.values);
        const fired = made.values.filter((value) => value > 0).length;
        const { texts, tokens } = made;
        return {
          value: { index: command.index, texts, tokens, max, fired, seconds: 0.04, note: "BOS is left out." },
          values: made.values,
        };
      }
      case "read_prompt":
        return this.reading(command);
      case "edit_feature": {
        const before = this.notes.get(command.index) ?? featurePage(open, command.index).page.notes;
        const { label, description, notes, starred } = command;
        const others = before.labels.filter((one) => one.source !== "user");
        const own = before.labels.find((one) => one.source === "user");
        const text = label ?? own?.text ?? "";
        const labels = text
          ? [
              {
                text,
                description: description ?? own?.description ?? "",
                source: "user" as const,
                by: "",
                created_at: Date.now() / 1000,
              },
              ...others,
            ]
          : others;
        const after = {
          index: command.index,
          labels,
          notes: notes ?? before.notes,
          starred: starred ?? before.starred,
        };
        this.notes.set(command.index, after);
        this.setState({ features_revision: this.state.features_revision + 1 });
        return { value: after };
      }
      case "suggest_label":
        return { value: { index: command.index, text: "words for ships", by: "offline heuristic", note: "" } };
      case "label_features":
        return { value: { labelled: 6852, skipped: 412 } };
      case "export_features":
        return { value: { path: `/workspace/${command.path}`, size_bytes: 12_000 } };
      case "import_labels":
        return { value: { imported: 120, skipped: 3 } };
      default:
        return { value: null };
    }
  }

  private row(index: number): FeatureRow {
    const row = featureRow(index);
    const notes = this.notes.get(index);
    const first = notes?.labels[0];
    const said = notes ? { starred: notes.starred, label: first?.text ?? "", auto: first?.source === "auto" } : {};
    const wild = this.options.hostile && row.label ? { label: `${HOSTILE} ${"y".repeat(10_000)}` } : {};
    return { ...row, ...wild, ...said };
  }

  private query(query: FeatureQuery, n: number): number[] {
    const { search, show, sort, descending } = query;
    const plain = search === "" && show === "all" && sort === "index";
    const all = Array.from({ length: n }, (_, i) => i);
    if (plain) return descending ? all.reverse() : all;
    const matches = (row: FeatureRow) =>
      `${row.label} ${row.top_tokens.join("")}`.includes(search) &&
      {
        all: true,
        labelled: row.label !== "",
        unlabelled: row.label === "",
        starred: row.starred,
        dead: row.density === 0,
        live: row.density > 0,
        dense: row.density > 0.01,
      }[show];
    const rows = all.map((index) => this.row(index)).filter(matches);
    const of = (row: FeatureRow) => (sort === "label" ? row.label || "~" : (row[sort] ?? -1));
    rows.sort((a, b) => (of(a) < of(b) ? -1 : of(a) > of(b) ? 1 : a.index - b.index));
    if (descending) rows.reverse();
    return rows.map((row) => row.index);
  }

  private saes(command: Extract<ViewerCommand, { kind: "list_saes" }>) {
    const rows = SAES.filter(
      (one) =>
        one.state === "ok" &&
        (command.source === null || one.source === command.source) &&
        (command.model === null || one.model === command.model) &&
        `${one.name} ${one.model}`.includes(command.search ?? ""),
    );
    const choice = (value: string, label: string) => ({ value, label, count: null });
    if (this.options.noSaes) return { rows: [], total: 0, sources: [], models: [], note: "" };
    return {
      rows,
      total: 6,
      sources: [
        choice("trained", "Trained"),
        choice("huggingface", "Hugging Face"),
        choice("gemma_scope", "Gemma Scope"),
      ],
      models: [choice("gpt2", "gpt2"), choice("google/gemma-2-2b", "google/gemma-2-2b")],
      note: "1 has no files, 1 is being downloaded",
    };
  }

  private act(id: string, action: string): void {
    const set = (status: string | null) =>
      this.setState({
        cards: this.state.cards.flatMap((card) => (card.id !== id ? card : status === null ? [] : { ...card, status })),
      });
    if (action === "delete") set(null);
    else if (action === "pause") {
      set("pausing");
      setTimeout(() => set("paused"), 400);
    } else set(action === "resume" ? "running" : "cancelled");
  }

  private reading(command: Extract<ViewerCommand, { kind: "read_prompt" }>): {
    value: PromptReading;
    values: number[];
  } {
    const { texts, tokens } = tokenise(command.text);
    const made = [7451, 11_873, 7487, 7470, 310, 13_002, 9120].map((index, r) => ({
      index,
      values: tokens.map((_, t) => (noise(index, t) < 0.72 ? 0 : 40 * noise(index, t, 9) ** 2 + 0.2 * r)),
    }));
    const rank = ({ values }: (typeof made)[number]) =>
      command.rank_by === "token"
        ? (values[command.token ?? 0] ?? 0)
        : command.rank_by === "sum"
          ? values.reduce((a, b) => a + b, 0)
          : Math.max(...values);
    made.sort((a, b) => rank(b) - rank(a));
    const rows = made.map(({ index, values }) => {
      const { label, auto, top_tokens, density } = featureRow(index);
      const max = Math.max(...values);
      return { index, label, auto, top_tokens, density, max, own_max: max * 1.1 };
    });
    return {
      value: { texts, tokens, rows, firing: 38, hidden: command.hide_dense ? 31 : 0, note: "BOS is left out." },
      values: made.flatMap(({ values }) => values),
    };
  }
}

function check(values: Record<string, unknown>) {
  const errors: Record<string, string> = {};
  const tokens = Number(String(values.tokens).replaceAll(",", ""));
  if (!(tokens >= 1)) errors.tokens = `Tokens is ${values.tokens}. Enter 1 or more; 1,000,000 is usual.`;
  if (!String(values.corpus).trim()) errors.corpus = "Corpus is empty. Enter a dataset, a file or a folder.";
  return {
    errors,
    device: "cuda:0",
    seconds: 110,
    disk_bytes: 58e6,
    disk_free: 41e9,
    memory_bytes: 1.4e9,
    memory_free: 6.1e9,
    warnings: [],
  };
}

function logits(index: number) {
  const bins = 56;
  return {
    index,
    raises: [" ship", " vessel", " ships", "board", " sail"].map((token, i) => ({
      token,
      logit: [1.94, 1.71, 1.55, 1.12, 0.97][i],
    })),
    lowers: [" Congress", " dollars", " he", " chapter", " law"].map((token, i) => ({
      token,
      logit: [-0.81, -0.77, -0.52, -0.49, -0.41][i],
    })),
    histogram: {
      title: "Logit effects",
      note: "4,096 tokens",
      x_label: "change of logit",
      edges: Array.from({ length: bins + 1 }, (_, i) => -1 + (2 * i) / bins),
      counts: Array.from({ length: bins }, (_, i) => Math.round(300 * Math.exp(-(((i - 24) / 8) ** 2)) + 3 * noise(i))),
      log: false,
      digits: 3,
      zeros: 0,
      zeros_label: "",
      summary: "Histogram of logit effects, minus 1 to plus 1",
    },
    problem: null,
  };
}

function relations(index: number, hostile = false) {
  const one = (other: number, value: number) => {
    const { label, top_tokens } = featureRow(other);
    return { index: other, label: hostile ? HOSTILE : label, top_tokens, value };
  };
  return {
    index,
    similar: [one(2210, 0.61), one(11_873, 0.44), one(7452, 0.38), one(904, 0.35)],
    coactive: [one(13_002, 0.71), one(11_873, 0.22), one(7452, 0.18), one(5520, 0.16)],
    sampled: 2048,
    note: "",
    problem: null,
  };
}
