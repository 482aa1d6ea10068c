/** The job that computes the logit effects of all features, on the card of its extraction. */

import { Button, NoteBox } from "../lib/controls";
import { Facts, StatusWord } from "../lib/kit";
import { placed } from "../lib/notes";
import { Progress } from "../lib/progress";
import { line } from "../lib/tokens";
import type { ExtractionCard, LogitsAct } from "../lib/wire";
import type { Store } from "./store";
import { logitsButtons, logitsLine, statusOf } from "./words";

export function LogitsRow({ store, card }: { store: Store; card: ExtractionCard }) {
  const job = card.logits;
  if (job === null) return null;
  const status = statusOf(job);
  const name = `Logit effects of ${line(card.name)}`;
  const live = store.link.value === "live";
  return (
    // biome-ignore lint/a11y/useSemanticElements: a group of buttons, not of form fields
    <div class="full lgj line" role="group" aria-label={name}>
      <div class="g4">
        <div class="row sm">
          <StatusWord status={status} />
          <span>Logit effects of all features</span>
        </div>
        <Progress label={name} fraction={job.fraction} status={status} />
        <Facts of={logitsLine(job, live)} />
      </div>
      <div class="acts">
        {logitsButtons(job).map((item) => (
          <Button
            key={item.action}
            small
            icon={item.icon}
            disabled={item.disabled}
            onClick={() => void store.logits(card, item.action as LogitsAct)}
          >
            {item.label}
          </Button>
        ))}
      </div>
      {job.note && ["failed", "interrupted"].includes(status) && (
        <div class="lgj-note">
          <NoteBox tone={status === "failed" ? "err" : "int"} title={placed(job.note)}>
            {job.note.hint}
          </NoteBox>
        </div>
      )}
    </div>
  );
}
