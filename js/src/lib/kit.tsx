/** What the cards, lists, toolbars and forms of all widgets are made of. */
import type { Signal } from "@preact/signals";
import type { ComponentChildren, RefObject } from "preact";
import { useState } from "preact/hooks";
import { onEsc, useCalledFocus, useFocusReturn, useOpened, useUid } from "./a11y";
import { Breakable } from "./breakable";
import { Button, Checkbox, NoteBox, type NoteProps, Options } from "./controls";
import { copyText } from "./copy";
import { useHelp } from "./help";
import { Icon } from "./icons";
import { Menu, type MenuItem } from "./menu";
import { Rename } from "./rename";
import { type JobButton, STATUS_ICONS, STATUS_WORDS, type Status } from "./statuses";

/** What sets a signal, for a button. */
export const put =
  <T,>(place: Signal<T>, value: T) =>
  (): void => {
    place.value = value;
  };

/** What is chosen goes there. */
export const into =
  <T,>(place: Signal<T>) =>
  (value: T): void => {
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
  /** Ids of what is shown, and of what is checked. */
  shown: readonly string[];
  checked: readonly string[];
  title?: string | undefined;
  onCheck: (ids: string[]) => void;
}

/** Checks all that is shown, or none of it; what is checked and not shown stays so. */
export function SelectAll({ shown, checked, title, onCheck }: SelectAllProps) {
  const all = shown.length > 0 && shown.every((id) => checked.includes(id));
  const others = checked.filter((id) => !shown.includes(id));
  return (
    <Checkbox
      label="Select all shown"
      checked={all}
      mixed={!all && checked.length > 0}
      onChange={() => onCheck(all ? others : [...others, ...shown])}
    >
      <span class="t2" title={title}>
        {checked.length === 0 ? "Select all shown" : `${checked.length.toLocaleString("en-US")} selected`}
      </span>
    </Checkbox>
  );
}

interface EmptyProps {
  title?: string;
  /** What can be done about it. */
  actions?: ComponentChildren;
  children: ComponentChildren;
}

/** In the place of a list without entries. */
export const Empty = ({ title, actions, children }: EmptyProps) => (
  <div class="empty">
    {title && <h3>{title}</h3>}
    {typeof children === "string" ? <p>{children}</p> : children}
    {actions && <div class="row w">{actions}</div>}
  </div>
);

/** Nothing of a list matches what was asked for. */
export const NothingMatches = ({
  noun,
  children,
  onClear,
}: {
  noun: string;
  children: string;
  onClear: () => void;
}) => (
  <Empty title={`No ${noun} matches`} actions={<Button onClick={onClear}>Clear filters</Button>}>
    {children}
  </Empty>
);

// ------------------------------------------------------------------------------------------------ cards

/** The colour of a status, for words and bars. */
const statusColour = (status: string) => ({ "--sc": `var(--sw-${status})` });

export function StatusWord({ status, word = STATUS_WORDS[status] }: { status: Status; word?: string }) {
  return (
    <span class="st" style={statusColour(status)}>
      <Icon name={STATUS_ICONS[status]} />
      {word}
    </span>
  );
}

/** A line of facts. */
export function Facts({ of }: { of: readonly ComponentChildren[] }) {
  return (
    <div class="meta">
      {of.filter(Boolean).map((part, i) => (
        <span key={i}>{part}</span>
      ))}
    </div>
  );
}

export const Named = ({ name }: { name: string }) => (
  <span class="nm el" title={name}>
    {name}
  </span>
);

interface ButtonsProps<A extends string> {
  of: readonly JobButton<A>[];
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
          text={label}
          key={action}
          small
          icon={icon}
          disabled={disabled}
          expanded={action === "export" ? open === "export" : undefined}
          onClick={() => onPress(action)}
        />
      ))}
    </>
  );
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

/** What opens in a card of a list: questions, which take the place of its buttons, its menu, forms, details. */
export function useCard<O extends { kind: string }>(
  store: CardStore<O>,
  root: RefObject<HTMLElement | null>,
  { id, name }: { id: string; name: string },
) {
  /** What became of a copied ID: null while nobody asked, the ID where it has to be copied by hand. */
  const [copied, setCopied] = useState<string | null>(null);
  const open = store.open.value.get(id);
  const kind = open?.kind;
  const more = `More actions: ${name}`;
  const asks = kind === "delete" || kind === "stop";
  useCalledFocus(root, id, store.focusCard);
  const returnTo = useFocusReturn(root, asks);
  /** Closes what is open, and gives focus to a button, that of the menu if no other is named. */
  const close = (focus = more) => {
    store.openFor(id, undefined);
    returnTo(focus);
  };
  const copyId = async () => {
    close();
    setCopied((await copyText(id)) ? "" : id);
  };
  const show = (what: O) => () => store.openFor(id, what);
  const toggle = (what: O) => () => store.openFor(id, kind === what.kind ? undefined : what);
  const toggleMenu = toggle({ kind: "menu" } as O);
  return { root, name, open, kind, asks, more, returnTo, close, show, toggle, toggleMenu, copied, setCopied, copyId };
}

interface CardProps {
  /** What `useCard` knows of it. */
  of: Pick<ReturnType<typeof useCard>, "name"> &
    Partial<Pick<ReturnType<typeof useCard>, "root" | "kind" | "asks" | "more" | "close" | "toggleMenu">>;
  check?: { on: boolean; mixed?: boolean; onChange: (on: boolean) => void };
  /** In the place of the box to check. */
  first?: ComponentChildren;
  /** What is seen as its name. */
  shownName?: string;
  /** Before and after the name. */
  lead?: ComponentChildren;
  badges?: ComponentChildren;
  onRename?: (name: string) => unknown;
  buttons: ComponentChildren;
  busy?: boolean;
  menu?: MenuItem[];
  /** Below the buttons. */
  aside?: ComponentChildren;
  /** What can be open in it, by its kind. */
  opens?: Record<string, () => ComponentChildren>;
  notes?: ComponentChildren;
  onEscape?: () => void;
  children: ComponentChildren;
}

/** One thing in a list: its name, what is known of it, what can be done with it, and what is open in it. */
export function Card({ of, check, lead, badges, onRename, menu, opens, onEscape, children, ...props }: CardProps) {
  const { name, kind, asks, more = "", close = () => {} } = of;
  const opened = kind === undefined ? undefined : opens?.[kind]?.();
  const first = check ? (
    <Checkbox label={`Select ${name}`} checked={check.on} mixed={check.mixed} onChange={check.onChange} />
  ) : (
    props.first
  );
  return (
    <li
      ref={of.root as RefObject<HTMLLIElement>}
      class={`card${first ? "" : " nc"}${check?.on || check?.mixed ? " sel" : ""}`}
      aria-label={name}
      tabIndex={of.root && -1}
      onKeyDown={kind === undefined ? undefined : onEsc(onEscape ?? (() => close()))}
    >
      {first && <div class="c1">{first}</div>}
      <div class="c2 col">
        <div class="row">
          {lead}
          {kind === "rename" && onRename ? (
            <Rename name={name} onSave={onRename} onDone={() => close()} />
          ) : (
            <Named name={props.shownName ?? name} />
          )}
          {badges}
        </div>
        {children}
      </div>
      <div class="c3 col">
        <div class="acts" aria-busy={props.busy}>
          {!asks && props.buttons}
          {!asks && menu && (
            <Button
              small
              kind="quiet"
              icon="more"
              label={more}
              popup="menu"
              expanded={kind === "menu"}
              onClick={of.toggleMenu}
            />
          )}
        </div>
        {props.aside}
      </div>
      {kind === "menu" && menu && (
        <div class="full">
          <Menu label={more} items={menu} onClose={() => close()} />
        </div>
      )}
      {asks && <div class="full">{opened}</div>}
      {props.notes}
      {!asks && opened && <div class="full">{opened}</div>}
    </li>
  );
}

// ------------------------------------------------------------------------------------------------ notes and questions

export const Dismiss = ({ onClick }: { onClick: () => void }) => <Button text="Dismiss" small onClick={onClick} />;

export interface QuestionProps extends Partial<Pick_<NoteProps, "tone" | "children">> {
  title: string;
  /** What can be done about it, and the answer that changes nothing, which has the focus at first. */
  answers: readonly { label: string; run: () => void; danger?: boolean; disabled?: boolean }[];
  keep?: string;
  onKeep: () => void;
}
type Pick_<T, K extends keyof T> = { [P in K]: T[P] };

/** A question before something is lost; it opens where that is, and names it. */
export function Question({ title, tone = "err", answers, keep = "Keep", onKeep, children }: QuestionProps) {
  const actions = (
    <>
      {answers.map(({ label, run, danger, disabled }) => (
        <Button text={label} key={label} small kind={danger ? "danger" : "plain"} disabled={disabled} onClick={run} />
      ))}
      <Button text={keep} small onClick={onKeep} />
    </>
  );
  return (
    <div ref={useOpened<HTMLDivElement>("button:last-of-type")}>
      <NoteBox tone={tone} title={title} actions={actions}>
        {children}
      </NoteBox>
    </div>
  );
}

// ------------------------------------------------------------------------------------------------ forms

/** What a control gets of the field around it. */
export interface Control {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": true | undefined;
}

interface FieldBoxProps {
  label: string;
  hint?: ComponentChildren;
  /** What is wrong, in the place of the hint. */
  error?: string | null | undefined;
  /** Says the error aloud. */
  alert?: boolean;
  help?: ComponentChildren;
  class?: string | undefined;
  /** A checkbox, which has its label beside it. */
  tick?: boolean;
  children: (control: Control) => ComponentChildren;
}

/** A field: its label and help above; below it a hint or, in its place, what is wrong. */
export function FieldBox({ label, hint, error, alert, help, class: name = "", tick, children }: FieldBoxProps) {
  const id = useUid("sw-field");
  const [button, text, helpId] = useHelp(label, help);
  const below = error || hint ? `${id}-below` : undefined;
  const described = [below, text && helpId].filter(Boolean).join(" ") || undefined;
  const control = children({ id, "aria-describedby": described, "aria-invalid": error ? true : undefined });
  return (
    <div class={`f ${name}`}>
      <div class={tick ? "l tick" : "l"}>
        {tick ? control : <label for={id}>{label}</label>}
        {help && button}
      </div>
      {!tick && control}
      {error ? (
        <p class="err" id={below} role={alert ? "alert" : undefined}>
          <Icon name="warn" />
          <span>
            <Breakable text={error} />
          </span>
        </p>
      ) : (
        hint && (
          <p class="hint" id={below}>
            {hint}
          </p>
        )
      )}
      {text}
    </div>
  );
}

interface FieldProps {
  label: string;
  value: string;
  onInput: (text: string) => void;
  hint?: string;
  error?: string | null;
  class?: string;
  /** A path or another name for machines. */
  mono?: boolean;
  /** Several lines. */
  rows?: number;
  maxLength?: number;
  numeric?: boolean;
  placeholder?: string;
  disabled?: boolean;
  onKeyDown?: (event: KeyboardEvent) => void;
  /** What it says of it, where that stands elsewhere. */
  "aria-describedby"?: string;
}

/** A text box. */
export function Field({ label, onInput, hint, error, class: name, mono, rows, numeric, ...rest }: FieldProps) {
  return (
    <FieldBox label={label} hint={hint} error={error} alert class={name}>
      {(control) => {
        const common = {
          ...{ ...control, ...rest, dir: "auto" as const },
          onInput: (event: Event) => onInput((event.currentTarget as HTMLInputElement).value),
        };
        if (rows) return <textarea rows={rows} {...common} />;
        return (
          <input
            type="text"
            class={mono ? "mono" : undefined}
            spellcheck={mono ? false : undefined}
            autocomplete="off"
            inputMode={numeric ? "numeric" : undefined}
            {...common}
          />
        );
      }}
    </FieldBox>
  );
}

interface ChoiceProps<T extends string> {
  label: string;
  options: readonly { value: T; label: string }[];
  value: T;
  onPick: (value: T) => void;
  hint?: string | undefined;
}

/** A few answers to choose from, in a form. */
export function Choice<T extends string>({ label, hint, options, value, onPick }: ChoiceProps<T>) {
  return (
    <FieldBox label={label} hint={hint}>
      {(control) => (
        <select {...control} value={value} onChange={(event) => onPick(event.currentTarget.value as T)}>
          <Options of={options} />
        </select>
      )}
    </FieldBox>
  );
}

interface InlineFormProps {
  label: string;
  submit: string;
  /** What *Cancel* is called. */
  cancel?: string;
  /** It cannot be sent now. */
  disabled: boolean;
  onSubmit: () => void;
  onClose: () => void;
  /** All of the first box is selected, to be typed over. */
  select?: boolean;
  /** What was found wrong: the first box gets the focus again. */
  wrong?: string | null;
  /** It stands in another form, where no form can stand: Enter is kept from that. */
  nested?: boolean;
  /** Another button before these. */
  more?: ComponentChildren;
  children: ComponentChildren;
}

/** A form that opens in place; the focus goes to its first text box. */
export function InlineForm({
  label,
  submit,
  disabled,
  onSubmit,
  onClose,
  nested,
  children,
  ...props
}: InlineFormProps) {
  const box = useOpened("input", props.select, props.wrong);
  const send = (event: Event) => {
    event.preventDefault();
    if (!disabled) onSubmit();
  };
  const Box = (nested ? "div" : "form") as "form";
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && event.target instanceof HTMLInputElement) send(event);
  };
  const own = nested ? ({ role: "group", onKeyDown } as const) : { onSubmit: send, noValidate: true };
  return (
    <Box ref={box} class={nested ? "inline nested" : "inline"} aria-label={label} {...(own as object)}>
      {children}
      <div class="acts">
        {props.more}
        <Button text={submit} submit={!nested} disabled={disabled} onClick={nested ? send : undefined} />
        <Button text="Cancel" label={props.cancel} onClick={onClose} />
      </div>
    </Box>
  );
}

interface PathFormProps extends Omit<InlineFormProps, "children" | "disabled" | "onSubmit"> {
  /** Of its text box. */
  field: string;
  hint: string;
  path?: string;
  /** The word of its button while it is under way. */
  working: string;
  /** True when it worked: the form closes then. */
  onPath: (path: string) => Promise<boolean>;
  children?: ComponentChildren;
}

/** Asks for a place on the kernel's machine. */
export function PathForm({ field, hint, path = "", working, onPath, children, ...form }: PathFormProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const value = typed ?? path;
  const send = async () => {
    setBusy(true);
    const done = await onPath(value.trim());
    setBusy(false);
    if (done) form.onClose();
  };
  const disabled = busy || value.trim() === "";
  return (
    <InlineForm {...form} submit={busy ? working : form.submit} disabled={disabled} onSubmit={() => void send()}>
      {children}
      <Field class="grow" label={field} mono value={value} onInput={setTyped} hint={hint} />
    </InlineForm>
  );
}
