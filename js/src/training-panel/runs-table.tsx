/** The runs as rows: what each has measured, and its settings, in the order of the heading that was pressed. */
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";
import { Button, Checkbox } from "../lib/controls";
import * as f from "../lib/format";
import { Icon, SeriesKey } from "../lib/icons";
import { put, StatusWord } from "../lib/kit";
import { ALL_STATUSES } from "../lib/statuses";
import { type Row, sortHead, Table } from "../lib/table";
import type { Card, Value } from "../lib/wire";
import { TrainingCard } from "./card";
import { hasProgressBar, placeOf, statusOf } from "./state";
import type { Store } from "./store";

/** "TopK k 32": what makes it sparse. */
const sparsityOf = ({ architecture }: Card): string => / ((?:k|L1|L0|λ) \S+)$/.exec(architecture)?.[1] ?? "";

/** What it is called, what it is sorted by, and what it says where that is something else. */
type RunColumn = [id: string, head: string, of: (card: Card) => Value, cell?: (value: never, card: Card) => unknown];
const COLUMNS: readonly RunColumn[] = [
  ["status", "Status", (card) => `${ALL_STATUSES.indexOf(statusOf(card))}`, (_, card) => <Status of={card} />],
  ["loss", "Loss", ({ tiles }) => tiles.loss, f.loss],
  ["l0", "L0", ({ tiles }) => tiles.l0, f.l0],
  ["fvu", "FVU", ({ tiles }) => tiles.fvu, f.fvu],
  ["ce_loss_score", "CE rec.", ({ tiles }) => tiles.ce_loss_score, f.ce],
  ["dead", "Dead", ({ tiles }) => tiles.dead, f.share],
  ["model", "Model", ({ model }) => model],
  ["hook_name", "Hook", placeOf, (value) => <code>{value}</code>],
  ["architecture", "Architecture", (card) => card.architecture.replace(sparsityOf(card), "").trim()],
  ["k", "Sparsity", (card) => Number(sparsityOf(card).replace(/^\S+ |,/g, "")) || null, (_, card) => sparsityOf(card)],
  ["d_sae", "d_sae", ({ d_sae }) => d_sae, f.count],
  ["lr", "LR", ({ lr }) => lr, f.formNumber],
  ["tokens", "Tokens", ({ tokens_done }) => tokens_done, f.tokens],
  ["created_at", "Created", ({ created_at }) => created_at, (at) => f.clock(at)],
];
const NAME: RunColumn = ["name", "Name", ({ name }) => name];

const Status = ({ of: card }: { of: Card }) => (
  <span class="row" title={card.note?.what}>
    <StatusWord status={statusOf(card)} />
    {hasProgressBar(card) && `${Math.floor(card.fraction * 100)} %`}
  </span>
);

export type Order = { by: string; down: boolean };

const WORDS = new Intl.Collator("en", { numeric: true });
const missing = (value: Value) => Number(value === null || ["NaN", "Infinity"].includes(`${value}`));
/** Words stand left. */
const sideOf = (value: Value) => (typeof value === "string" && !missing(value) ? undefined : "num");

/** What was not measured comes last either way. */
export function inOrder(cards: readonly Card[], { by, down }: Order): Card[] {
  const of = [NAME, ...COLUMNS].find(([id]) => id === by)?.[2] ?? NAME[2];
  const compare = (a: Value, b: Value) =>
    typeof a === "number" && typeof b === "number" ? a - b : WORDS.compare(`${a}`, `${b}`);
  return cards
    .map((card) => [of(card), card] as const)
    .sort(([a], [b]) => missing(a) - missing(b) || (missing(a) ? 0 : (down ? -1 : 1) * compare(a, b)))
    .map(([, card]) => card);
}

export function Columns({ store }: { store: Store }) {
  const hidden = store.hidden.value;
  return (
    <details class="more-fields under">
      <summary>
        <Icon name="right" />
        {`Columns: ${COLUMNS.length - hidden.length} of ${COLUMNS.length}`}
      </summary>
      <div class="row w bd">
        {COLUMNS.map(([id, head]) => (
          <Checkbox
            key={id}
            label={`Column ${head}`}
            text={head}
            checked={!hidden.includes(id)}
            onChange={(on) => {
              store.hidden.value = on ? hidden.filter((one) => one !== id) : [...hidden, id];
            }}
          />
        ))}
      </div>
    </details>
  );
}

const PAGE = 100; // rows; to draw all that there are would be slow

export function RunsTable({ store, runs }: { store: Store; runs: readonly Card[] }) {
  const [most, setMost] = useState(PAGE);
  const { order, hidden, row: open, focusCard } = store;
  const columns = COLUMNS.filter(([id]) => !hidden.value.includes(id));
  const asked = focusCard.value; // a run or a group, whose card takes the focus
  const called = asked === null ? undefined : runs.find(({ id, group_id }) => id === asked || group_id === asked);
  useLayoutEffect(() => {
    if (!called) return;
    open.value = focusCard.value = called.id;
    setMost(Math.max(most, runs.indexOf(called) + 1));
  }, [called?.id]);
  const cellOf = (card: Card, [id, , of, cell]: RunColumn) => {
    const value = of(card);
    return (
      <td key={id} class={sideOf(value)}>
        {(cell ? cell(value as never, card) : value) as ComponentChildren}
      </td>
    );
  };
  const rowsOf = (card: Card): Row[] => {
    const [isOpen, checked] = [open.value === card.id, store.checked.value.has(card.id)];
    const first = (
      <th key="name" scope="row">
        <span class="row">
          {/* The card that is open has a box of its own. */}
          {!isOpen && (
            <Checkbox label={`Select ${card.name}`} checked={checked} onChange={(on) => store.select(card.id, on)} />
          )}
          <Button
            kind="link"
            class="el"
            title={card.name}
            expanded={isOpen}
            onClick={put(open, isOpen ? null : card.id)}
          >
            {card.name}
          </Button>
          {card.series !== null && <SeriesKey series={card.series} />}
        </span>
      </th>
    );
    const row = {
      key: card.id,
      class: checked ? "sel" : undefined,
      cells: [first, ...columns.map((one) => cellOf(card, one))],
    };
    const whole = (
      <td key="card" colSpan={columns.length + 1} style={{ padding: 0 }}>
        <ul class="in-row">
          <TrainingCard store={store} card={card} />
        </ul>
      </td>
    );
    return isOpen ? [row, { key: `${card.id} card`, cells: [whole] }] : [row];
  };
  const headOf = ([id, head, of]: RunColumn) => {
    const down = order.value?.by === id ? order.value.down : undefined;
    return sortHead({ head, class: runs[0] && sideOf(of(runs[0])) }, down, (down) => put(order, { by: id, down })());
  };
  return (
    <div class="scroll runs-table">
      <Table
        label="Trainings"
        class="pad"
        box=""
        columns={[NAME, ...columns].map(headOf)}
        rows={runs.slice(0, most).flatMap(rowsOf)}
      />
      {runs.length > most && (
        <div class="tb pager">
          <span class="sm t2">{`${f.count(most)} of ${f.count(runs.length)}`}</span>
          <Button text={`Show ${Math.min(PAGE, runs.length - most)} more`} small onClick={() => setMost(most + PAGE)} />
        </div>
      )}
    </div>
  );
}
