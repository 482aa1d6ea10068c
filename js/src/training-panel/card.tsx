/** One training in the list, and what opens in it. */
import { Button, NoteBox, useHelp } from "../lib/controls";
import * as f from "../lib/format";
import { SeriesKey } from "../lib/icons";
import { Buttons, Card as CardBox, Facts, Progress, Question, StatusWord, useCard } from "../lib/kit";
import { CardNotes, placing } from "../lib/notes";
import type { Card, Tile, Value } from "../lib/wire";
import { deleteQuestion, stopQuestion } from "./bulk-state";
import { ExportForm, LongerForm, SaveTemplate } from "./card-forms";
import { Details } from "./details";
import { tiledBy } from "./groups";
import type { ListCard } from "./state";
import * as state from "./state";
import type { Open, Store } from "./store";

/** The first entries of a card's menu; `details` is what *Details* opens. */
export const menuOf = (card: ReturnType<typeof useCard<Open>>, details: Open) => [
  { label: "Rename", run: card.show({ kind: "rename" }) },
  { label: "Details", run: card.show(details) },
  { label: "Save as template", run: card.show({ kind: "template" }) },
  { label: "Export", run: card.show({ kind: "export" }) },
  { label: "Copy ID", run: () => card.copyId() },
];

export function TrainingCard({ store, card }: { store: Store; card: Card }) {
  const of = useCard<Open>(store, card);
  const { open, close } = of;
  const { id, name } = card;
  const status = state.statusOf(card);
  const origin = state.originWords(card);
  const show = (what: Open) => () => store.openFor(id, what);
  const press = (action: state.CardAction) => {
    if (action === "edit") store.form.value = { from: card };
    else if (action === "open") void store.openSae(id, card.sae_id);
    else if (action === "longer" || action === "delete") store.openFor(id, { kind: action });
    else if (action === "stop" && state.stopAsks(card)) store.openFor(id, { kind: "stop" });
    else void store.act(card, action);
  };
  const duplicate = () => {
    close();
    store.form.value = { from: card, duplicate: true };
  };
  const menu = menuOf(of, { kind: "details", tab: "checkpoints" });
  // What has ended early keeps its SAE, too.
  if (card.sae_id !== null && status !== "completed") menu.unshift({ label: "Open SAE", run: () => press("open") });
  menu.push({ label: "Duplicate…", run: duplicate }, { label: "Copy as Python", run: () => store.copyCode(id) });
  const remove = state.canDelete(card) ? [{ label: "Delete", danger: true, run: () => press("delete") }] : [];
  const tab = open?.kind === "details" ? open.tab : null;
  return (
    <CardBox
      of={of}
      check={{ on: store.checked.value.has(id), onChange: (on) => store.select(id, on) }}
      lead={<StatusWord status={status} />}
      badges={
        <>
          {card.series !== null && <SeriesKey series={card.series} />}
          {card.sae_id !== null && <span class="bg">In SAEs</span>}
          {card.advice !== null && (
            <Button
              text="Advice"
              kind="link"
              class="adv"
              title={card.advice}
              expanded={tab === "advice"}
              onClick={show({ kind: "details", tab: "advice" })}
            />
          )}
        </>
      }
      onRename={(name) => void store.command(id, "Rename", { kind: "rename", training_id: id, name })}
      buttons={<Buttons of={state.buttonsFor(card, store.pending.value.get(id))} onPress={press} />}
      menu={[...menu, ...remove]}
      aside={<Tiles card={card} />}
      opens={{
        delete: () => <Question {...deleteQuestion([card], () => store.act(card, "delete"))} onKeep={close} />,
        stop: () => <Question {...stopQuestion([card], (action) => store.act(card, action))} onKeep={close} />,
        longer: () => <LongerForm store={store} card={card} onClose={close} />,
        export: () => <ExportForm store={store} id={id} cards={[card]} onClose={close} />,
        template: () => <SaveTemplate store={store} at={id} name={name} of={{ training_id: id }} onClose={close} />,
        details: () => (
          <Details
            store={store}
            card={card}
            tab={tab ?? "checkpoints"}
            onTab={(to) => store.openFor(id, { kind: "details", tab: to })}
            onClose={close}
          />
        ),
      }}
      notes={
        <RunNotes
          store={store}
          card={card}
          onResume={() => store.act(card, "resume")}
          log={tab === "log"}
          onLog={(on) => store.openFor(id, on ? { kind: "details", tab: "log" } : undefined)}
        />
      }
    >
      <div class="meta">
        <span>{card.model}</span>
        <span>
          <code>{state.placeOf(card)}</code>
        </span>
        <span>{card.architecture}</span>
        <span>{`d_sae ${f.count(card.d_sae)}`}</span>
        {origin && <span title={origin}>{origin}</span>}
      </div>
      {state.hasProgressBar(card) && (
        <Progress label={`Progress of ${name}`} fraction={card.fraction} status={status} />
      )}
      <Facts
        of={state.progressLine(card, {
          live: store.link.value === "live",
          startsIn: status === "queued" ? state.startsIn(card, store.state.value.cards) : null,
        })}
      />
      {card.place.length > 0 && <Facts of={card.place} />}
    </CardBox>
  );
}

interface NotesProps {
  store: Store;
  card: Card;
  about?: Card;
  onResume: () => void;
  log: boolean;
  onLog: (show: boolean) => void;
}

/** Below a card: what went wrong or stands still, with the button for it. */
export function RunNotes({ store, card, about = card, onResume, log, onLog }: NotesProps) {
  const status = state.statusOf(card);
  const { note } = card;
  const step = card.last_checkpoint_step;
  const { retry } = about;
  const actions = (
    <>
      {retry !== null && Object.keys(retry).length > 0 && (
        <Button
          text={"optimizer.lr" in retry ? "Retry with a lower learning rate" : "Change and retry"}
          small
          onClick={() => (store.form.value = { from: about, changes: retry })}
        />
      )}
      {step !== null && retry === null && card.has_files && (
        <Button
          text={`Resume from step ${f.count(step)}`}
          small
          disabled={store.pending.value.has(card.id)}
          onClick={onResume}
        />
      )}
      <Button text="Show log" small expanded={log} onClick={() => onLog(!log)} />
    </>
  );
  return (
    <CardNotes store={store} id={card.id} onOpen={(sae) => store.openSae(card.id, sae)}>
      {status === "failed" ? (
        <NoteBox tone="err" {...(note ? placing(note) : { title: "The training failed." })} actions={actions}>
          {note?.hint}
        </NoteBox>
      ) : status === "interrupted" ? (
        <NoteBox tone="int" title="The kernel that ran it ended.">
          {note?.hint
            ? note.hint
            : !card.has_files
              ? "It can be resumed on the machine that has its files."
              : step === null
                ? "Resume starts again from the beginning: it had no checkpoint yet."
                : `Resume continues from step ${f.count(step)} and ends in the same weights as an uninterrupted run.`}
        </NoteBox>
      ) : (
        note && (
          <NoteBox tone={["info", "warning"].includes(note.kind) ? "warn" : "err"} {...placing(note)}>
            {note.hint}
          </NoteBox>
        )
      )}
    </CardNotes>
  );
}

export function Tiles({ card }: { card: ListCard }) {
  const { tiles } = card;
  const window = f.count(card.dead_window_tokens);
  const range = (name: keyof Tile, text: (value: Value) => string): string => {
    const values = tiledBy(card.members ?? [card]).map((one) => one.tiles[name]);
    if (values.some((value) => value == null)) return f.DASH;
    const [low, high] = [Math.min, Math.max].map((of) => text(of(...values.map(Number))));
    return low === high ? `${low}` : `${low}–${high}`.replace(/ /g, "\u00a0"); // it breaks behind the dash
  };
  const unfired = range("val_dead", f.share); // of runs that ended before their window
  const known = unfired !== f.DASH || tiles.dead !== null || card.tokens_done >= card.dead_window_tokens;
  const rows: [label: string, value: string, title?: string, missing?: string][] = [
    ["Loss", range("loss", f.loss), "what is trained to be small, of the newest batches"],
    ["L0", range("l0", f.l0), "mean active latents per token"],
    ["FVU", range("fvu", f.fvu), "fraction of variance unexplained"],
    [
      "CE rec.",
      range("ce_loss_score", f.ce),
      `share of the cross-entropy recovered (zero ablation)${
        tiles.ce_tokens == null ? "" : `, on ${f.count(Number(tiles.ce_tokens))} held-out tokens`
      }`,
    ],
    [
      unfired === f.DASH ? "Dead" : "Never fired",
      unfired === f.DASH ? range("dead", f.share) : unfired,
      unfired === f.DASH ? `latents that did not fire in the last ${window} tokens` : "in training",
      !known ? `not known before ${window} tokens` : undefined,
    ],
  ];
  const [help, definitions] = useHelp(
    `metrics of ${card.name}`,
    <dl>
      {rows.map(([label, , title]) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd>{title}</dd>
        </div>
      ))}
    </dl>,
  );
  return (
    <>
      <div class="row tiled">
        {help}
        <dl class="tiles">
          {rows.map(([label, value, title, missing]) => (
            <div
              class="tile"
              key={label}
              title={[value === f.DASH ? missing : value, title].filter(Boolean).join(": ") || undefined}
            >
              <dt>{label}</dt>
              <dd class={value === f.DASH ? "na" : undefined}>
                {value}
                {missing && <span class="vh">{` ${missing}`}</span>}
              </dd>
            </div>
          ))}
        </dl>
      </div>
      {definitions}
    </>
  );
}
