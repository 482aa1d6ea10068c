/** A stand-in for the SAE browser's Python half and the library behind it. */
import type { Note, SaeBrowserState, SaeCard, SaeCommand, SaeComparison, SaeQuery } from "../src/lib/wire";
import { FakeWidget } from "./fake-widget";
import { details, HISTOGRAMS, histogram, library, sae } from "./sae-fixtures";

type Sent = SaeCommand & { id: string };

export interface LibraryOptions {
  /** No acknowledgement for a while, or never. */
  late?: boolean;
  silent?: boolean;
  /** ms until a piece of an upload is answered. */
  slow?: number;
  /** SAEs that are in use: they are not deleted. */
  refuses?: readonly string[];
  /** Failures by the kind of the command. */
  failures?: Partial<Record<SaeCommand["kind"], Pick<Note, "what" | "hint">>>;
}

export class FakeLibrary extends FakeWidget<SaeBrowserState, SaeCommand> {
  readonly buffers: ArrayBuffer[] = [];
  private all: SaeCard[];
  private received = 0;

  constructor(
    cards: readonly SaeCard[],
    readonly options: LibraryOptions = {},
    changes: Partial<SaeBrowserState> = {},
  ) {
    super("sae_browser", library(cards, changes));
    this.all = [...cards];
  }

  send(content: unknown, _callbacks?: unknown, buffers: ArrayBuffer[] = []): void {
    const command = content as Sent;
    this.sent.push(command);
    this.buffers.push(...buffers);
    if (this.options.silent) return;
    setTimeout(() => this.answer(command, buffers), this.options.late ? 2500 : 5);
  }

  private answer(command: Sent, buffers: ArrayBuffer[]): void {
    const { id } = command;
    this.emit("msg:custom", { id, kind: "ack" }, []);
    const say = (message: object, delay = 5) =>
      setTimeout(() => this.emit("msg:custom", { id, ...message }, []), delay);
    const failure = this.options.failures?.[command.kind];
    if (failure) return void say({ kind: "failure", ...failure });
    const reply = (value: unknown, delay = 5) => say({ kind: "result", value }, delay);
    switch (command.kind) {
      case "browse_saes":
        this.show({ ...this.state.query, ...pick(command) });
        return void reply(null);
      case "select_saes":
        this.setState({
          selected: command.sae_ids.flatMap((one) => this.all.filter((card) => card.id === one)),
        });
        return void reply(null);
      case "describe_sae":
        return void reply(details(this.find(command.sae_id)));
      case "measure_sae":
        return void reply({ sae_id: command.sae_id, histograms: HISTOGRAMS, facts: FACTS });
      case "edit_sae": {
        const { name, tags } = command;
        this.change(command.sae_id, { ...(name && { name }), ...(tags && { tags }) });
        return void reply({ sae_id: command.sae_id });
      }
      case "locate_sae":
        this.change(command.sae_id, { state: "ok", state_note: "" });
        return void reply({ sae_id: command.sae_id });
      case "export_saes": {
        const paths = command.sae_ids.map((one) => `/workspace/${command.folder}/${one}`);
        return void reply({ done: command.sae_ids, paths, problems: [] });
      }
      case "delete_saes": {
        const refused = command.sae_ids.filter((one) => this.options.refuses?.includes(one));
        const done = command.sae_ids.filter((one) => !refused.includes(one));
        const problems = refused.map((one) => {
          const { name } = this.find(one);
          return { what: `${name} is in use.`, where: name, hint: "Wait.", kind: "error" };
        });
        this.all = this.all.filter((card) => !done.includes(card.id));
        this.show(this.state.query);
        return void reply({ done, paths: [], problems });
      }
      case "compare_saes":
        return void reply(this.comparison(command.first, command.second));
      case "show_training":
        return void reply({
          training_id: command.training_id,
          name: "gpt2-l6-topk-k32",
          status: "completed",
          facts: FACTS,
          settings: [{ name: "sae.k", value: "32", label: "" }],
        });
      case "add_local":
      case "finish_upload": {
        const made = sae({ name: command.name ?? "added-one", created_at: Date.now() / 1000 });
        this.all = [made, ...this.all];
        this.show(this.state.query);
        return void reply({ sae_id: made.id });
      }
      case "begin_upload":
        this.received = 0;
        return void reply({ upload_id: "u1" });
      case "upload_chunk":
        for (const buffer of buffers) this.received += buffer.byteLength;
        return void reply({ received: this.received }, this.options.slow ?? 5);
      case "train_demo":
        return void reply({ training_id: "train_9", name: "demo-l1-topk-k32" });
      case "show_extractions":
        this.setState({ extractions_shown: command.shown });
        return void reply(null);
      case "show_steering":
        this.setState({ steering_shown: command.shown });
        return void reply(null);
      case "show_download":
        this.setState({ download_shown: command.shown });
        return void reply(null);
      default:
        return void reply(null);
    }
  }

  private find(id: string): SaeCard {
    return this.all.find((card) => card.id === id) ?? sae({ id });
  }

  private change(id: string, change: Partial<SaeCard>): void {
    this.all = this.all.map((card) => (card.id === id ? { ...card, ...change } : card));
    this.show(this.state.query);
  }

  private show(query: SaeQuery): void {
    const matches = (card: SaeCard, without?: string) =>
      (["source", "model", "layer", "architecture", "format"] as const).every(
        (field) => field === without || query[field] === null || card[field] === query[field],
      ) && `${card.name} ${card.model}`.includes(query.search);
    const found = this.all.filter((card) => matches(card));
    const { facets } = library(this.all);
    const ids = new Set(this.all.map((card) => card.id));
    this.setState({
      query,
      cards: found.slice(query.offset, query.offset + 50),
      matching: found.length,
      matching_bytes: found.reduce((sum, card) => sum + card.size_bytes, 0),
      total: this.all.length,
      facets,
      selected: this.state.selected.filter((one) => ids.has(one.id)),
    });
  }

  private comparison(first: string, second: string): SaeComparison {
    return {
      first: this.find(first),
      second: this.find(second),
      facts: [{ label: "Mean max cosine", value: "0.612", code: false }],
      histogram: histogram({ title: "Largest cosine", note: "mean 0.612", x_label: "cosine" }),
      matches: Array.from({ length: 50 }, (_, i) => ({
        first: (i * 797) % 16_384,
        second: (i * 131) % 16_384,
        cosine: 0.992 - i * 0.006,
      })),
      differences: [
        ["Architecture", "TopK, k 32", "BatchTopK, k 32"],
        ["Source", "Trained", "Local"],
      ],
    };
  }
}

const FACTS = [
  { label: "Features extracted", value: "16,384 of 16,384", code: false },
  { label: "L0", value: "82.1 active per token", code: false },
  { label: "Norm of b_dec", value: "3.25", code: false },
];

/** A browse command without what is no part of the query. */
function pick(command: Sent): Partial<SaeQuery> {
  const { id: _, kind: __, ...query } = command as Sent & Partial<SaeQuery>;
  return query as Partial<SaeQuery>;
}
