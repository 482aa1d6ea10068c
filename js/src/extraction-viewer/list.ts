/** The list of features: pieces of it, asked for as they come into sight. */
import { signal } from "@preact/signals";
import { asFailure, isAbort, type Rpc } from "../lib/rpc";
import type { Problem } from "../lib/store";
import type { FeatureListRow, FeatureQuery, FeatureRows } from "../lib/wire";

const PIECE = 100; // rows asked for at once; Python gives at most 200
const MOST_PIECES = 300; // kept
const SETTLE = 60; // ms without scrolling before rows are asked for

interface Known {
  key: string;
  matching: number;
  maxDensity: number;
  pieces: Map<number, FeatureListRow[]>;
}

const NONE: Known = { key: "", matching: 0, maxDensity: 0, pieces: new Map() };

export class FeatureList {
  /** Of the query before, until the first answer to the new one is there. */
  readonly known = signal<Known>(NONE);
  readonly busy = signal(false);
  readonly problem = signal<Problem | null>(null);
  readonly cursor = signal(0);
  /** Counts up when the list has to scroll to `cursor`. */
  readonly reveal = signal(0);
  private extraction = "";
  private query: FeatureQuery | null = null;
  private key = "";
  private asking = new Map<number, AbortController>();
  private stale = new Set<number>();
  private wanted: [number, number] = [0, PIECE];
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly rpc: Rpc,
    private readonly onFirst: (rows: readonly FeatureListRow[]) => void,
  ) {}

  /** Shows the features of an extraction that match; what is known of another list is given up. */
  use(extraction: string, query: FeatureQuery): void {
    const key = JSON.stringify([extraction, query]);
    if (key === this.key) return;
    if (extraction !== this.extraction) this.known.value = NONE;
    this.extraction = extraction;
    this.query = query;
    this.key = key;
    this.giveUp();
    this.moveTo(0);
    this.problem.value = null;
    this.ask(0);
  }

  want(first: number, last: number): void {
    this.wanted = [first, last];
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fill(), SETTLE);
  }

  row(at: number): FeatureListRow | null {
    return this.known.value.pieces.get(Math.floor(at / PIECE))?.[at % PIECE] ?? null;
  }

  /** Where a feature stands; null when that piece of the list is not known. */
  rowOf(index: number): number | null {
    for (const [piece, rows] of this.known.value.pieces) {
      const at = rows.findIndex((row) => row.index === index);
      if (at >= 0) return piece * PIECE + at;
    }
    return null;
  }

  /** The features after and before one, as far as they are known. */
  beside(index: number): number[] {
    const row = this.rowOf(index);
    return row === null ? [] : [row + 1, row - 1].flatMap((at) => this.row(at)?.index ?? []);
  }

  moveTo(row: number): void {
    this.cursor.value = row;
    this.reveal.value += 1;
  }

  /** Changes what is shown of a feature until the list is asked for again. */
  update(index: number, change: Partial<FeatureListRow>): void {
    const row = this.rowOf(index);
    if (row === null) return;
    const known = this.known.value;
    const pieces = new Map(known.pieces);
    const piece = Math.floor(row / PIECE);
    pieces.set(
      piece,
      (pieces.get(piece) ?? []).map((one) => (one.index === index ? { ...one, ...change } : one)),
    );
    this.known.value = { ...known, pieces };
  }

  /** Labels or stars changed: what is on the screen is asked for again, the rest when it comes into sight. */
  refresh(): void {
    if (this.query === null) return;
    this.stale = new Set(this.known.value.pieces.keys());
    this.fill();
  }

  again(): void {
    this.problem.value = null;
    if (this.known.value.key === this.key) this.fill();
    else this.ask(0);
  }

  private fill(): void {
    if (this.known.value.key !== this.key) return; // its first piece is under way
    const [first, last] = this.wanted;
    const end = Math.min(last, this.known.value.matching);
    for (let piece = Math.floor(first / PIECE); piece * PIECE < end; piece += 1) {
      if (this.stale.has(piece) || !this.known.value.pieces.has(piece)) this.ask(piece);
    }
    // a list that was empty may not be any more
    if (end === 0 && this.stale.has(0)) this.ask(0);
    // what was scrolled past need not be answered any more
    for (const [piece, stop] of this.asking) {
      if ((piece + 1) * PIECE <= first || piece * PIECE >= Math.max(last, PIECE)) stop.abort();
    }
  }

  private ask(piece: number): void {
    if (this.asking.has(piece) || this.query === null) return;
    const stop = new AbortController();
    const key = this.key;
    this.asking.set(piece, stop);
    this.busy.value = true;
    this.rpc
      .send(
        {
          kind: "query_features",
          extraction_id: this.extraction,
          query: this.query,
          offset: piece * PIECE,
          limit: PIECE,
        },
        { signal: stop.signal },
      )
      .then(
        (answer) => {
          if (key === this.key) this.take(piece, answer.value);
        },
        (error) => {
          if (!isAbort(error) && key === this.key) this.problem.value = asFailure(error);
        },
      )
      .finally(() => {
        if (this.asking.get(piece) === stop) this.asking.delete(piece);
        this.busy.value = this.asking.size > 0;
      });
  }

  private take(piece: number, answer: FeatureRows): void {
    const before = this.known.value;
    const fresh = before.key !== this.key;
    const pieces = new Map(fresh ? [] : before.pieces);
    pieces.delete(piece); // so that it is the youngest
    pieces.set(piece, answer.rows);
    this.stale.delete(piece);
    // another length: what was known beyond this piece is of no use
    if (!fresh && answer.matching !== before.matching)
      for (const other of pieces.keys()) if (other !== piece) this.stale.add(other);
    for (const oldest of [...pieces.keys()].slice(0, Math.max(0, pieces.size - MOST_PIECES))) pieces.delete(oldest);
    this.problem.value = null;
    this.known.value = { key: this.key, matching: answer.matching, maxDensity: answer.max_density, pieces };
    this.cursor.value = Math.max(0, Math.min(this.cursor.value, answer.matching - 1));
    if (fresh) this.onFirst(answer.rows);
    if (fresh || answer.matching !== before.matching) this.fill();
  }

  giveUp(): void {
    clearTimeout(this.timer);
    for (const stop of this.asking.values()) stop.abort();
    this.asking = new Map();
    this.stale = new Set();
    this.busy.value = false;
  }
}
