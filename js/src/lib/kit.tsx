/** What the cards, lists and toolbars of all widgets are made of. */
import type { Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { onEnter, onEsc, rove, useOpened } from "./a11y";
import { Button, Checkbox, type Choices, Cut, NoteBox, type NoteProps, Options } from "./controls";
import { copyText } from "./copy";
import * as f from "./format";
import { Icon } from "./icons";
import { type JobButton, type Status, statusIcon, statusWord } from "./statuses";
import { line } from "./tokens";
import type { Choice as ChoiceCount } from "./wire";

export const put =
  <T,>(place: Signal<T>, value: T) =>
  (): void => {
    place.value = value;
  };

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
  onInput: (text: string) => void;
  onEnter?: () => void;
  disabled?: boolean;
}

export const Search = ({ label, placeholder, value, onInput, onEnter, disabled }: SearchProps) => (
  <div class="srch">
    <Icon name="search" />
    <input
      dir="auto"
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

export interface PickProps<T extends string> {
  label: string;
  options: Choices<T>;
  value: T;
  onPick: (value: T) => void;
  class?: string;
  width?: number;
  /** Something other than the usual is chosen. */
  chosen?: boolean;
  title?: string | undefined;
  disabled?: boolean;
  /** More options, in groups. */
  children?: ComponentChildren;
}

export const Pick = <T extends string>(props: PickProps<T>) => (
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
      {props.children}
    </select>
  </span>
);

interface FilterProps extends Omit<PickProps<string>, "options" | "value" | "onPick"> {
  /** The choice that asks for nothing. */
  all: string;
  value: string | null;
  choices: readonly ChoiceCount[];
  onPick: (value: string | null) => void;
}

/** A select among what a list has, with how many of each there are. */
export function FilterPick({ all, value, choices, onPick, ...props }: FilterProps) {
  const options = choices.map(({ value, label, count }) => ({
    value,
    label: count === null ? line(label) : `${line(label)} (${f.count(count)})`,
  }));
  return (
    <Pick
      {...props}
      chosen={value !== null}
      value={value ?? ""}
      options={[{ value: "", label: all }, ...options]}
      onPick={(to) => onPick(to || null)}
    />
  );
}

/** The order of a list, at the end of its toolbar; `label`: the lists of two widgets may stand below each other. */
export const Sort = <T extends string>(props: PickProps<T>) => (
  <span class="row">
    <span class="sm t2 hw" aria-hidden="true">
      Sort
    </span>
    <Pick width={124} {...props} />
  </span>
);

interface SelectAllProps {
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
      text={
        <span class="t2" title={title}>
          {checked.length === 0 ? "Select all shown" : `${checked.length.toLocaleString("en-US")} selected`}
        </span>
      }
    />
  );
}

interface EmptyProps {
  title?: string;
  actions?: ComponentChildren;
  children: ComponentChildren;
}

export const Empty = ({ title, actions, children }: EmptyProps) => (
  <div class="empty">
    {title && <h3>{title}</h3>}
    {typeof children === "string" ? <p>{children}</p> : children}
    {actions && <div class="row w">{actions}</div>}
  </div>
);

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

const statusColour = (status: string) => ({ "--sc": `var(--sw-${status})` });

export const StatusWord = ({ status, word = statusWord(status) }: { status: Status; word?: string }) => (
  <span class="st" style={statusColour(status)}>
    <Icon name={statusIcon(status)} />
    {word}
  </span>
);

export const Facts = ({ of }: { of: readonly ComponentChildren[] }) => (
  <div class="meta">
    {of.filter(Boolean).map((part, i) => (
      <span key={i}>{part}</span>
    ))}
  </div>
);

/** Text in which web addresses are links. Everything else, whatever it looks like, stays text. */
export const Linked = ({ text }: { text: string }) => (
  <>
    {text.split(/(https?:\/\/[^\s<>"')]*[^\s<>"').,;:])/).map((part, i) =>
      i % 2 === 1 ? (
        <a key={i} href={part} target="_blank" rel="noopener noreferrer">
          {part}
        </a>
      ) : (
        part
      ),
    )}
  </>
);

export const Repository = ({ id }: { id: string }) => (
  <a class="cut" href={`https://huggingface.co/${encodeURI(id)}`} target="_blank" rel="noopener noreferrer" title={id}>
    {id}
  </a>
);

export const Named = ({ name }: { name: string }) => <Cut class="nm" text={name} />;

interface ButtonsProps<A extends string> {
  of: readonly JobButton<A>[];
  onPress: (action: A) => void;
  open?: string | undefined;
}

export const Buttons = <A extends string>({ of, onPress, open }: ButtonsProps<A>) => (
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
  /** A card that is called for: it gets the focus, once. */
  readonly focusCard: Signal<string | null>;
  openFor(id: string, what: O | undefined): void;
  refuse(id: string, what: string, hint: string): void;
  announce(what: string): void;
}

/** What opens in a card of a list: questions, which take the place of its buttons, its menu, forms, details. */
export function useCard<O extends { kind: string }>(store: CardStore<O>, { id, name }: { id: string; name: string }) {
  const root = useRef<HTMLLIElement>(null);
  const open = store.open.value.get(id);
  const kind = open?.kind;
  const called = store.focusCard.value === id;
  useLayoutEffect(() => {
    if (!called) return;
    store.focusCard.value = null;
    root.current?.focus();
    root.current?.scrollIntoView?.({ block: "nearest" });
  }, [called]);
  const show = (what: O) => () => store.openFor(id, what);
  const toggle = (what: O) => () => store.openFor(id, kind === what.kind ? undefined : what);
  const close = () => store.openFor(id, undefined);
  const copyId = async () => {
    close();
    if (await copyText(id)) store.announce("ID copied.");
    else store.refuse(id, "This page may not use the clipboard.", `The ID is ${id}.`);
  };
  return { root, name, open, kind, close, show, toggle, toggleMenu: toggle({ kind: "menu" } as O), copyId };
}

interface CardProps {
  /** What `useCard` knows of it. */
  of: Pick<ReturnType<typeof useCard>, "name"> &
    Partial<Pick<ReturnType<typeof useCard>, "root" | "kind" | "close" | "toggleMenu">>;
  check?: { on: boolean; mixed?: boolean; onChange: (on: boolean) => void };
  /** In the place of the box to check. */
  first?: ComponentChildren;
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
  opens?: Record<string, () => ComponentChildren>;
  notes?: ComponentChildren;
  children: ComponentChildren;
}

/** One thing in a list: its name, what is known of it, what can be done with it, and what is open in it. */
export function Card({ of, check, lead, badges, onRename, menu, opens, children, ...props }: CardProps) {
  const { name, kind, close = () => {} } = of;
  const more = `More actions: ${name}`;
  const asks = of.root !== undefined && (kind === "delete" || kind === "stop");
  const opened = kind === undefined ? undefined : opens?.[kind]?.();
  const first = check ? (
    <Checkbox label={`Select ${name}`} checked={check.on} mixed={check.mixed} onChange={check.onChange} />
  ) : (
    props.first
  );
  return (
    <li
      ref={of.root}
      class={`card${first ? "" : " nc"}${check?.on || check?.mixed ? " sel" : ""}`}
      aria-label={name}
      tabIndex={of.root && -1}
      onKeyDown={kind === undefined ? undefined : onEsc(close)}
    >
      {first && <div class="c1">{first}</div>}
      <div class="c2 col">
        <div class="row">
          {lead}
          {kind === "rename" && onRename ? (
            <Rename name={name} onSave={onRename} onDone={close} />
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
          <Menu label={more} items={menu} onClose={close} />
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

export interface QuestionProps extends Omit<NoteProps, "title" | "where" | "actions"> {
  title: string;
  /** What can be done about it, and the answer that changes nothing, which has the focus at first. */
  answers: readonly { label: string; run: () => void; danger?: boolean; disabled?: boolean }[];
  keep?: string;
  onKeep: () => void;
}

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

export interface MenuItem {
  label: string;
  danger?: boolean;
  run: () => void;
}

export const Menu = ({ label, items, onClose }: { label: string; items: MenuItem[]; onClose: () => void }) => (
  <div
    ref={useOpened<HTMLDivElement>("[role=menuitem]")}
    class="menu"
    role="menu"
    aria-label={label}
    aria-orientation="horizontal"
    tabIndex={-1}
    onKeyDown={(event) => {
      if (event.key === "Escape") {
        event.preventDefault();
        onClose();
      } else if (event.key === "Tab") onClose();
      else if (rove(event, "[role=menuitem]") === null && event.key.length === 1) focusByLetter(event);
    }}
  >
    {items.map((item, i) => (
      <button
        key={item.label}
        type="button"
        role="menuitem"
        class={`b s${item.danger ? " d" : ""}`}
        tabIndex={i === 0 ? 0 : -1}
        onClick={item.run}
      >
        {item.label}
      </button>
    ))}
  </div>
);

function focusByLetter(event: KeyboardEvent): void {
  const items = [...(event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("[role=menuitem]")];
  const hit = items.find((item) => item.textContent?.toLowerCase().startsWith(event.key.toLowerCase()));
  if (hit) {
    hit.focus();
    event.preventDefault();
  }
}

interface RenameProps {
  name: string;
  /** Called with a name that is another one and not empty. Where it comes to `false` the box stays as it is. */
  onSave: (name: string) => unknown;
  onDone: () => void;
}

export function Rename({ name, onSave, onDone }: RenameProps) {
  const box = useOpened<HTMLElement>("input", true);
  const save = async () => {
    const input = box.current?.querySelector("input");
    const typed = input?.value.trim() ?? "";
    if (typed && typed !== name && (await onSave(typed)) === false) input?.focus();
    else onDone();
  };
  return (
    <span ref={box} class="rename">
      <input aria-label={`New name of ${name}`} defaultValue={name} maxLength={120} onKeyDown={onEnter(save)} />
      <Button text="Save name" small onClick={save} />
      <Button small kind="quiet" icon="close" label="Keep the old name" onClick={onDone} />
    </span>
  );
}

interface ProgressProps {
  label: string;
  fraction: number; // 0 to 1
  status: string;
}

export function Progress({ label, fraction, status }: ProgressProps) {
  const percent = Math.floor(fraction * 100);
  return (
    <div class="prog">
      <div
        class="bar"
        style={{ "--sc": `var(--sw-${status || "accent"})` }}
        role="progressbar"
        aria-label={label}
        aria-valuenow={percent}
        aria-valuemin={0}
        aria-valuemax={100}
      >
        <i style={{ width: `${fraction * 100}%` }} />
      </div>
      <span class="r">{`${percent} %`}</span>
    </div>
  );
}
