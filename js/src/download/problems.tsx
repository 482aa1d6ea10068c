/** What is being looked up, and what went wrong with it. */
import type { ComponentChildren } from "preact";
import { Button, NoteBox } from "../lib/controls";
import { Dismiss, Linked, put } from "../lib/kit";
import { placed } from "../lib/notes";
import type { Problem as Failed } from "../lib/store";
import type { Problem } from "../lib/wire";
import type { Finding } from "./listing";
import type { Store } from "./store";

export function Looking({ finding }: { finding: Finding }) {
  if (!finding.found.value.busy) return null;
  return <p class="looking line sm t2">{`Looking into ${finding.label}…`}</p>;
}

interface FailedProps {
  failed: Failed | null;
  again: () => void;
  onDismiss?: () => void;
  /** It is being asked again; the note stays until there is an answer. */
  busy?: boolean;
}

export function FailedNote({ failed, again, onDismiss, busy = false }: FailedProps) {
  if (!failed) return null;
  return (
    <div class="panel-note notes" aria-busy={busy}>
      <NoteBox
        tone="err"
        title={placed(failed)}
        actions={
          <>
            <Button text={busy ? "Checking…" : "Check again"} small icon="retry" disabled={busy} onClick={again} />
            {onDismiss && <Dismiss onClick={onDismiss} />}
          </>
        }
      >
        <Linked text={failed.hint ?? ""} />
      </NoteBox>
    </div>
  );
}

const PASSING = /gated|token|forbidden|rate|timeout|offline|server|connection|hub_error|^hub$|disk|truncated|changed/;

/** Repositories that could not be listed, each with what to try instead; and that the hub was not asked. */
export function Problems({ store, finding, again }: { store: Store; finding: Finding; again: () => void }) {
  const problems = finding.found.value.data?.problems ?? [];
  if (problems.length === 0) return null;
  return (
    <div class="panel-note notes">
      {problems.map((problem) => (
        <NoteBox
          key={problem.what}
          tone={problem.kind === "cached" ? "warn" : "err"}
          title={problem.what}
          actions={
            <>
              {wayOut(store, problem, again)}
              <Dismiss onClick={() => finding.dismiss(problem.what)} />
            </>
          }
        >
          <Linked text={problem.hint ?? ""} />
          {problem.suggestions.length > 0 && (
            <span>
              {problem.kind === "no_sae"
                ? " SAEs trained on it: "
                : ` Nearest name${problem.suggestions.length > 1 ? "s" : ""}: `}
              {problem.suggestions.map((name, i) => (
                <span key={name}>
                  {i > 0 && ", "}
                  <Button text={name} kind="link" onClick={() => store.browse(name)} />
                </span>
              ))}
              .
            </span>
          )}
        </NoteBox>
      ))}
    </div>
  );
}

function wayOut(store: Store, { kind, suggestions }: Problem, again: () => void): ComponentChildren {
  if (kind === "invalid_token" && store.state.value.has_token) {
    return <Button text="Forget token" small onClick={() => store.forgetToken()} />;
  }
  const missing = kind.endsWith("not_found");
  if (missing || PASSING.test(kind)) {
    return <Button text={missing ? "Try again" : "Check again"} small icon="retry" onClick={again} />;
  }
  if (kind !== "no_sae" || suggestions.length > 0) return undefined;
  const showKnown = put(store.tab, "known");
  return <Button text="Known repositories" small onClick={showKnown} />;
}

const PLACES = {
  tab: '[role="tab"][aria-selected="true"]',
  repository: '.where input[type="text"]',
  token: '.where input[type="password"]',
  release: ".release select",
  search: ".srch input",
  device: '[aria-label="Load on"]',
  start: ".ft2 .b.p",
};

export const places = (...names: readonly (keyof typeof PLACES)[]): string =>
  names.map((name) => PLACES[name]).join(" | ");
