/** The extractions of the workspace: how far each is, and what can be done with it. */
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import {
  Buttons,
  Card as CardBox,
  Empty,
  Facts,
  type MenuItem,
  Progress,
  Question,
  Repository,
  StatusWord,
  useCard,
} from "../lib/kit";
import { CardNotes, Failed } from "../lib/notes";
import { hasProgressBar, isActive, isUnderWay, type JobButton, statusOf } from "../lib/statuses";
import { line } from "../lib/tokens";
import type { ExtractionCard, LogitsAct, LogitsJob } from "../lib/wire";
import { ExportForm } from "./panels";
import type { CardOpen, Store } from "./store";
import * as words from "./words";

export function Jobs({ store }: { store: Store }) {
  const { cards, total } = store.state.value;
  if (cards.length === 0) return <Empty>No extraction is in this workspace.</Empty>;
  return (
    <>
      <ul class="lst" aria-label="Extractions">
        {cards.map((card) => (
          <Card key={card.id} store={store} card={card} />
        ))}
      </ul>
      {total > cards.length && <div class="ft">{`${f.count(cards.length)} of ${f.count(total)} shown`}</div>}
    </>
  );
}

const TONES = { failed: "err", interrupted: "int" } as const;
const toneOf = (status: string) => TONES[status as keyof typeof TONES] ?? "plain";

function Card({ store, card }: { store: Store; card: ExtractionCard }) {
  const name = line(card.name);
  const { id } = card;
  const of = useCard<CardOpen>(store, { id, name });
  const { kind, close } = of;
  const pending = store.pending.value.get(id);
  const status = statusOf(card);
  const live = store.link.value === "live";
  const toggle = (what: CardOpen["kind"]) => {
    store.dismiss(id);
    of.toggle({ kind: what })();
  };
  const press = (action: words.CardAction) => {
    if (action === "open") store.openExtraction(id);
    else if (action === "delete" || action === "export") toggle(action);
    else void store.act(card, action);
  };
  const computeLogits = () => {
    close();
    void store.logits(card, "start");
  };
  const done = status === "completed";
  const readable = done && card.has_files;
  const menu: (MenuItem | false)[] = [
    readable && { label: "Open features", run: () => press("open") },
    readable && { label: "Export", run: () => press("export") },
    words.mayComputeLogits(card) && { label: "Compute all logits", run: computeLogits },
    { label: "Copy ID", run: () => of.copyId() },
    card.has_files && !isActive(card) && { label: "Delete", danger: true, run: () => press("delete") },
  ];
  const size = card.size_bytes === null ? "" : ` (${f.bytes(card.size_bytes)})`;
  const said = card.note !== null && !isActive(card) && !done ? card.note : null;
  const { sae_id, repo_id, training_name } = card;
  const run = training_name && `trained by ${line(training_name)}`;
  const from = [repo_id && <Repository key="repository" id={repo_id} />, run, ...card.place].filter(Boolean);
  return (
    <CardBox
      of={{ ...of, toggleMenu: () => toggle("menu") }}
      lead={<StatusWord status={status} word={words.statusWord(card)} />}
      badges={<span class="bg">{card.source_label}</span>}
      buttons={<Buttons of={words.buttonsFor(card, pending)} onPress={press} open={kind} />}
      busy={isUnderWay(card, pending)}
      menu={menu.filter((item) => item !== false)}
      opens={{
        delete: () => (
          <Question
            title={`Delete the extraction of ${name}?`}
            answers={[{ label: "Delete extraction", run: () => store.act(card, "delete"), danger: true }]}
            onKeep={close}
          >
            {`Its statistics and examples${size} go too. Labels, stars and notes stay. This cannot be undone.`}
          </Question>
        ),
        export: () => (
          <ExportForm
            store={store}
            place={id}
            extraction={id}
            name={name}
            what="html"
            scopes={[{ value: "all", label: `All ${f.count(card.d_sae)} features` }]}
            onClose={close}
          />
        ),
      }}
      notes={
        <>
          <LogitsRow store={store} card={card} />
          <CardNotes store={store} id={id} title="Done.">
            {said && (
              <Failed
                tone={toneOf(status)}
                problem={said}
                actions={
                  status === "failed" &&
                  sae_id !== null && (
                    <Button text="Edit and retry" small onClick={() => store.starting.openFor(sae_id, id)} />
                  )
                }
              />
            )}
          </CardNotes>
        </>
      }
    >
      {hasProgressBar(card) && <Progress label={`Extraction of ${name}`} fraction={card.fraction} status={status} />}
      <Facts of={words.progressLine(card, live)} />
      {from.length > 0 && <Facts of={from} />}
    </CardBox>
  );
}

function LogitsRow({ store, card }: { store: Store; card: ExtractionCard }) {
  const job = card.logits;
  if (job === null) return null;
  const buttons = words.logitsButtons(job).filter(({ action }) => card.has_files || action !== "resume");
  const press = (action: LogitsAct) => void store.logits(card, action);
  const name = `Logit effects of ${line(card.name)}`;
  return <JobRow {...{ store, job, name, title: "Logit effects of all features", buttons }} onPress={press} />;
}

interface JobRowProps {
  store: Store;
  job: LogitsJob;
  name: string;
  title: string;
  buttons: readonly JobButton<LogitsAct>[];
  onPress: (action: LogitsAct) => void;
}

/** A job about the features of an extraction. */
export function JobRow({ store, job, name, title, buttons, onPress }: JobRowProps) {
  const status = statusOf(job);
  return (
    // biome-ignore lint/a11y/useSemanticElements: a group of buttons, not of form fields
    <div class="full lgj line" role="group" aria-label={name}>
      <div class="g4">
        <div class="row sm">
          <StatusWord status={status} />
          <span>{title}</span>
        </div>
        <Progress label={name} fraction={job.fraction} status={status} />
        <Facts of={words.logitsLine(job, store.link.value === "live")} />
      </div>
      <div class="acts">
        <Buttons of={buttons} onPress={onPress} />
      </div>
      {job.note && ["failed", "interrupted"].includes(status) && (
        <div class="lgj-note">
          <Failed tone={toneOf(status)} problem={job.note} />
        </div>
      )}
    </div>
  );
}
