/** Notes below a card or on top of a widget: a failed command, a busy kernel, no kernel. */
import { type ComponentChildren, toChildArray } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Button, NoteBox, type NoteProps } from "./controls";
import * as f from "./format";
import { Dismiss, Lines, Linked } from "./kit";
import type { Done, Link, Outcome, Problem } from "./store";
import { visible } from "./tokens";
import type { Deleted, Note } from "./wire";

interface Noted {
  readonly problems: { readonly value: ReadonlyMap<string, Problem> };
  readonly late: { readonly value: ReadonlyMap<string, string> };
  readonly done: { readonly value: ReadonlyMap<string, Done> };
  readonly outcome: { value: Outcome | null };
  noted(id: string): boolean;
  dismiss(key: string): void;
  say(key: string): void;
}

/** For a note: what happened, and where unless it says so itself. */
export const placing = ({ what, where, hint }: Pick<Problem, "what" | "where" | "hint">) => ({
  title: what,
  where: where && !`${what} ${hint ?? ""}`.toLowerCase().includes(where.toLowerCase()) ? where : null,
});

/** The same in one sentence. */
export const placed = ({ what, where }: { what: string; where: string | null }): string =>
  where && !what.includes(where) ? `${what} (${where})` : what;

interface FailedProps extends Pick<NoteProps, "tone" | "actions"> {
  problem: Pick<Problem, "what" | "where" | "hint">;
  /** What happened, and where, unless this says it in other words. */
  title?: string;
  onAgain?: (() => void) | undefined;
}

/** What Python says of a failure, or that something is amiss. */
export function Failed({ problem, title = placed(problem), tone = "err", actions, onAgain }: FailedProps) {
  const again = onAgain && <Button text="Try again" small onClick={onAgain} />;
  return (
    <NoteBox tone={tone} title={title} actions={actions ?? again}>
      {problem.hint}
    </NoteBox>
  );
}

/** A warning of one or more sentences, of which the first is the title. */
export function Warning({ text }: { text: string }) {
  const [title, ...others] = text.split(/(?<=[.!?])\s+/);
  return (
    <NoteBox tone="warn" title={title}>
      {others.join(" ")}
    </NoteBox>
  );
}

export function ProblemNote({ store, id }: { store: Noted; id: string }) {
  const problem = store.problems.value.get(id);
  if (!problem) return null;
  return (
    <NoteBox tone="err" {...placing(problem)} actions={<Dismiss onClick={() => store.dismiss(id)} />}>
      {problem.hint}
    </NoteBox>
  );
}

export function BusyNote({ store, id }: { store: Noted; id: string }) {
  const word = store.late.value.get(id);
  if (!word) return null;
  return <NoteBox title="Kernel busy.">{`${word} is queued and takes effect when the running cell ends.`}</NoteBox>;
}

interface WidgetNotesProps {
  store: Noted & {
    readonly state: { readonly value: { notice: Note | null; updated_at: number } };
    readonly link: { readonly value: Link };
    readonly heardAt: { readonly value: number | null };
  };
  noun: string;
  quiet: boolean;
  /** Where failures of the whole widget show up. */
  ids: readonly string[];
  children?: ComponentChildren;
}

/** On top of a widget: what its kernel does, what Python has to say, and what failed. */
export function WidgetNotes({ store, noun, quiet, ids, children }: WidgetNotesProps) {
  const { notice, updated_at } = store.state.value;
  const link = linkWords({ link: store.link.value, heardAt: store.heardAt.value, updatedAt: updated_at, noun, quiet });
  const some = ids.filter((id) => store.late.value.has(id) || store.problems.value.has(id));
  if (!link && !notice && some.length === 0 && !children) return null;
  return (
    <div class="panel-note notes">
      {link && <NoteBox title={link[0]}>{link[1]}</NoteBox>}
      {notice && <Failed problem={notice} title={notice.what} tone={notice.kind === "error" ? "err" : "warn"} />}
      {some.map((id) => (
        <ItemNotes key={id} store={store} id={id} />
      ))}
      {children}
    </div>
  );
}

interface DoneProps {
  store: Noted;
  id: string;
  /** What happened, where the sentence only says with what. */
  title?: string;
  onOpen?: (sae: string) => void;
}

/** What was done, until it is dismissed. */
export function DoneNote({ store, id, onOpen, ...of }: DoneProps) {
  const done = store.done.value.get(id);
  if (!done) return null;
  const { text, sae, title = of.title } = done;
  const actions = (
    <>
      {sae !== undefined && <Button text="Open SAE" small onClick={() => onOpen?.(sae)} />}
      <Dismiss onClick={() => store.say(id)} />
    </>
  );
  return (
    <NoteBox tone={title ? "plain" : "info"} title={title ?? text} actions={actions}>
      {title && <Linked text={visible(text)} />}
    </NoteBox>
  );
}

interface UndoProps {
  store: {
    readonly state: { readonly value: { deleted: readonly Deleted[] } };
    command: (key: string, word: string, command: { kind: "undo_delete"; ids: string[] }) => Promise<unknown>;
  };
  /** Where a failure shows up. */
  id: string;
  noun: string;
}

/** What was deleted, for as long as it can be undone. */
export function UndoNote({ store, id, noun }: UndoProps) {
  const { deleted } = store.state.value;
  const [first] = deleted;
  if (!first) return null;
  const what = deleted.length === 1 ? visible(first.name) : f.plural(deleted.length, noun);
  const ids = deleted.map((one) => one.id);
  const undo = () => void store.command(id, "Undo", { kind: "undo_delete", ids });
  return <NoteBox tone="info" title={`${what} deleted.`} actions={<Button text="Undo" small onClick={undo} />} />;
}

/** Which of several items something could not be done to. */
export function OutcomeNote({ store }: { store: Pick<Noted, "outcome"> }) {
  const { value } = store.outcome;
  if (!value) return null;
  const dismiss = () => {
    store.outcome.value = null;
  };
  return (
    <NoteBox tone="err" title={value.title} actions={<Dismiss onClick={dismiss} />}>
      <Lines lines={value.lines} label="What was not done, and why" />
    </NoteBox>
  );
}

interface CardNotesProps extends DoneProps {
  problem?: ComponentChildren;
  children?: ComponentChildren;
}

export function CardNotes({ problem, children, ...of }: CardNotesProps) {
  if (toChildArray(children).length === 0 && !of.store.noted(of.id)) return null;
  return (
    <div class="full notes">
      {children}
      <BusyNote {...of} />
      {problem ?? <ProblemNote {...of} />}
      <DoneNote {...of} />
    </div>
  );
}

export const ItemNotes = ({ store, id }: { store: Noted; id: string }) => (
  <>
    <BusyNote store={store} id={id} />
    <ProblemNote store={store} id={id} />
  </>
);

interface LinkState {
  link: Link;
  /** When the kernel was last heard, by `performance.now()`; null if never. */
  heardAt: number | null;
  /** Of when the state on the screen is, in Unix seconds; 0 if unknown. */
  updatedAt: number;
  /** What this is: "panel". */
  noun: string;
  /** Nothing shown can be wrong by being old: silence is not worth a word then. */
  quiet: boolean;
}

/** What to know while nothing is heard from the kernel: title and sentences. */
function linkWords({ link, heardAt, updatedAt, noun, quiet }: LinkState): [string, string] | null {
  const last = `This is the last known state${updatedAt > 0 ? `, of ${f.clock(updatedAt)}` : ""}`;
  const gone = `Run the cell again for a live ${noun}.`;
  switch (link) {
    case "gone":
      return ["Not connected.", `The kernel behind this ${noun} was restarted or has ended. ${last}. ${gone}`];
    case "silent":
      if (heardAt === null) {
        return ["No answer from the kernel yet.", `It is busy with a cell, or it has ended. ${last}.`];
      }
      // Where nothing runs, the footer says how old it is.
      if (quiet) return null;
      return [
        "No answer from the kernel.",
        `It is busy with a cell, or it has ended. ${last}. It goes on by itself when the cell ends; otherwise, run the cell again.`,
      ];
    default:
      return null;
  }
}

/** How fresh a state is, for a footer, as of now. */
export function useAge(store: Omit<WidgetNotesProps["store"], keyof Noted>): string {
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const link = store.link.value;
  return ageWords({ link, heardAt: store.heardAt.value, updatedAt: store.state.value.updated_at }, now);
}

export function ageWords(state: Pick<LinkState, "link" | "heardAt" | "updatedAt">, now: number): string {
  const { link, heardAt, updatedAt } = state;
  const of = updatedAt > 0 ? `State of ${f.clock(updatedAt)}, ` : "";
  const words =
    link === "gone"
      ? `${of}not connected`
      : heardAt === null
        ? `${of}${link === "silent" ? "no answer from the kernel yet" : "asking the kernel…"}`
        : `Updated ${f.ago(Math.max(0, now - heardAt) / 1000)}${link === "silent" ? ", no answer since" : ""}`;
  return words.replace(/^./, (letter) => letter.toUpperCase());
}
