/** What the cards, lists, toolbars and forms of all widgets are made of. */
import type { Signal } from "@preact/signals";
import type { ComponentChildren, RefObject } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useCalledFocus, useFocusLast, useFocusReturn, useUid } from "./a11y";
import { Button, NoteBox, type NoteProps, Options } from "./controls";
import { copyText } from "./copy";
import { Icon } from "./icons";
import { STATUS_ICONS, STATUS_WORDS, type Status } from "./statuses";

/** What sets a signal, for a button. */
export const put =
  <T,>(place: Signal<T>, value: T) =>
  (): void => {
    place.value = value;
  };

export const flip = (place: Signal<boolean>) => (): void => {
  place.value = !place.value;
};

// ------------------------------------------------------------------------------------------------ toolbars

interface SearchProps {
  label: string;
  placeholder: string;
  value: string;
  /** Esc empties the box. */
  onInput: (text: string) => void;
  onEnter?: () => void;
  disabled?: boolean;
  input?: RefObject<HTMLInputElement | null>;
}

export function Search({ label, placeholder, value, onInput, onEnter, disabled, input }: SearchProps) {
  return (
    <div class="srch">
      <Icon name="search" />
      <input
        dir="auto"
        ref={input}
        type="search"
        aria-label={label}
        placeholder={placeholder}
        maxLength={500}
        disabled={disabled}
        value={value}
        onInput={(event) => onInput(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && onEnter) onEnter();
          else if (event.key === "Escape" && value !== "") onInput("");
          else return;
          event.preventDefault();
        }}
      />
    </div>
  );
}

interface PickProps<T extends string> {
  label: string;
  options: readonly { value: T; label: string }[];
  value: T;
  onPick: (value: T) => void;
  class?: string;
  /** Pixels. */
  width?: number;
  /** Something other than the usual is chosen. */
  chosen?: boolean;
  title?: string | undefined;
  disabled?: boolean;
}

/** A small select with an accessible name. */
export function Pick<T extends string>(props: PickProps<T>) {
  return (
    <span class={`s24 ${props.class ?? ""}`} style={props.width ? { "--w": `${props.width}px` } : undefined}>
      <select
        aria-label={props.label}
        class={props.chosen ? "chosen" : undefined}
        title={props.title}
        disabled={props.disabled}
        value={props.value}
        onChange={(event) => props.onPick(event.currentTarget.value as T)}
      >
        <Options of={props.options} />
      </select>
    </span>
  );
}

interface SelectAllProps {
  /** How many of what is shown are checked. */
  all: boolean;
  none: boolean;
  words: string;
  title?: string | undefined;
  onToggle: () => void;
}

export function SelectAll({ all, none, words, title, onToggle }: SelectAllProps) {
  return (
    <label class="ck">
      <input
        type="checkbox"
        aria-label="Select all shown"
        checked={all}
        ref={(box) => {
          if (box) box.indeterminate = !all && !none;
        }}
        onChange={onToggle}
      />
      <span class="t2" title={title}>
        {words}
      </span>
    </label>
  );
}

// ------------------------------------------------------------------------------------------------ cards

/** The colour of a status, for words and bars. */
export const statusColour = (status: string) => ({ "--sc": `var(--sw-${status})` });

export function StatusWord({ status, word = STATUS_WORDS[status] }: { status: Status; word?: string }) {
  return (
    <span class="st" style={statusColour(status)}>
      <Icon name={STATUS_ICONS[status]} />
      {word}
    </span>
  );
}

/** A line of facts. */
export function Facts({ of }: { of: readonly string[] }) {
  return (
    <div class="meta">
      {of.map((part) => (
        <span key={part}>{part}</span>
      ))}
    </div>
  );
}

export const Named = ({ name }: { name: string }) => (
  <span class="nm el" title={name}>
    {name}
  </span>
);

export interface CardButton<A extends string> {
  action: A;
  label: string;
  icon?: Parameters<typeof Icon>[0]["name"];
  disabled?: boolean;
}

interface ButtonsProps<A extends string> {
  of: readonly CardButton<A>[];
  onPress: (action: A) => void;
  /** What is open in the card. */
  open?: string | undefined;
}

/** The buttons of a card. */
export function Buttons<A extends string>({ of, onPress, open }: ButtonsProps<A>) {
  return (
    <>
      {of.map(({ action, label, icon, disabled }) => (
        <Button
          key={action}
          small
          icon={icon}
          disabled={disabled}
          expanded={action === "export" ? open === "export" : undefined}
          onClick={() => onPress(action)}
        >
          {label}
        </Button>
      ))}
    </>
  );
}

export function More({ label, open, onClick }: { label: string; open: boolean; onClick: () => void }) {
  return <Button small kind="quiet" icon="more" label={label} popup="menu" expanded={open} onClick={onClick} />;
}

/** A few lines; many of them scroll. `short`: what is too long ends in an ellipsis. */
export function Lines({ lines, label, short }: { lines: readonly string[]; label: string; short?: boolean }) {
  if (lines.length === 0) return null;
  return (
    <ul class={short ? "names short" : "names"} aria-label={label} tabIndex={lines.length > 4 ? 0 : undefined}>
      {lines.map((line, i) => (
        <li key={`${i} ${line}`} class={short ? "el" : undefined} title={short ? line : undefined}>
          {line}
        </li>
      ))}
    </ul>
  );
}

interface CardStore<O> {
  readonly open: Signal<ReadonlyMap<string, O>>;
  /** A card that is called for. */
  readonly focusCard: Signal<string | null>;
  openFor(id: string, what: O | undefined): void;
}

/** What opens in a card of a list. `asks`: is it a question? It takes the place of the buttons. */
export function useCard<O>(
  store: CardStore<O>,
  root: RefObject<HTMLElement | null>,
  { id, name }: { id: string; name: string },
  asks: (open: O) => boolean,
) {
  /** What became of a copied ID: null while nobody asked, the ID where it has to be copied by hand. */
  const [copied, setCopied] = useState<string | null>(null);
  const open = store.open.value.get(id);
  const more = `More actions: ${name}`;
  const asking = open !== undefined && asks(open);
  useCalledFocus(root, id, store.focusCard);
  const returnTo = useFocusReturn(root, asking);
  /** Closes what is open, and gives focus to a button, that of the menu if no other is named. */
  const close = (focus = more) => {
    store.openFor(id, undefined);
    returnTo(focus);
  };
  const copyId = async () => {
    close();
    setCopied((await copyText(id)) ? "" : id);
  };
  return { open, asks: asking, more, returnTo, close, copied, setCopied, copyId };
}

// ------------------------------------------------------------------------------------------------ notes and questions

export const Dismiss = ({ onClick }: { onClick: () => void }) => (
  <Button small onClick={onClick}>
    Dismiss
  </Button>
);

interface QuestionProps extends Pick_<NoteProps, "tone" | "children"> {
  title: string;
  /** What can be done about it, and the answer that changes nothing, which has the focus at first. */
  answers: readonly { label: string; run: () => void; danger?: boolean; disabled?: boolean }[];
  keep?: string;
  onKeep: () => void;
}
type Pick_<T, K extends keyof T> = { [P in K]?: T[P] };

/** A question before something is lost; it opens where that is, and names it. */
export function Question({ title, tone = "err", answers, keep = "Keep", onKeep, children }: QuestionProps) {
  const actions = (
    <>
      {answers.map(({ label, run, danger, disabled }) => (
        <Button key={label} small kind={danger ? "danger" : "plain"} disabled={disabled} onClick={run}>
          {label}
        </Button>
      ))}
      <Button small onClick={onKeep}>
        {keep}
      </Button>
    </>
  );
  return (
    <div ref={useFocusLast()}>
      <NoteBox tone={tone} title={title} actions={actions}>
        {children}
      </NoteBox>
    </div>
  );
}

// ------------------------------------------------------------------------------------------------ forms

interface FieldProps {
  label: string;
  value: string;
  onInput: (text: string) => void;
  hint?: string;
  /** What is wrong, in the place of the hint. */
  error?: string | null;
  class?: string;
  /** A path or another name for machines. */
  mono?: boolean;
  /** Several lines. */
  rows?: number;
  maxLength?: number;
  numeric?: boolean;
  onKeyDown?: (event: KeyboardEvent) => void;
}

/** A text box with its label above and a hint below. */
export function Field({ label, value, onInput, hint, error, class: name, mono, rows, numeric, ...rest }: FieldProps) {
  const id = useUid("sw-field");
  const below = error ?? hint;
  const common = {
    dir: "auto",
    id,
    "aria-describedby": below === undefined ? undefined : `${id}-hint`,
    "aria-invalid": error ? true : undefined,
    value,
    onInput: (event: Event) => onInput((event.currentTarget as HTMLInputElement).value),
    ...rest,
  } as const;
  return (
    <div class={name ? `f ${name}` : "f"}>
      <label for={id}>{label}</label>
      {rows ? (
        <textarea rows={rows} {...common} />
      ) : (
        <input
          type="text"
          class={mono ? "mono" : undefined}
          spellcheck={mono ? false : undefined}
          autocomplete="off"
          inputMode={numeric ? "numeric" : undefined}
          {...common}
        />
      )}
      {below !== undefined && (
        <p class={error ? "err" : "hint"} id={`${id}-hint`} role={error ? "alert" : undefined}>
          {below}
        </p>
      )}
    </div>
  );
}

interface InlineFormProps {
  label: string;
  submit: string;
  /** It cannot be sent now. */
  disabled: boolean;
  onSubmit: () => void;
  onClose: () => void;
  /** All of the first box is selected, to be typed over. */
  select?: boolean;
  children: ComponentChildren;
}

/** A form that opens in place; the focus goes to its first text box. */
export function InlineForm({ label, submit, disabled, onSubmit, onClose, select, children }: InlineFormProps) {
  const box = useRef<HTMLFormElement>(null);
  useLayoutEffect(() => {
    const input = box.current?.querySelector("input");
    input?.focus();
    if (select) input?.select();
    box.current?.scrollIntoView?.({ block: "nearest" });
  }, []);
  const send = (event: Event) => {
    event.preventDefault();
    if (!disabled) onSubmit();
  };
  return (
    <form ref={box} class="inline" aria-label={label} noValidate onSubmit={send}>
      {children}
      <div class="acts">
        <Button submit disabled={disabled}>
          {submit}
        </Button>
        <Button onClick={onClose}>Cancel</Button>
      </div>
    </form>
  );
}
