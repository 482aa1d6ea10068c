/** Small controls that every widget uses. */
import { type ComponentChildren, Fragment, type JSX, type VNode } from "preact";
import { useState } from "preact/hooks";
import { onEsc, rove, useUid } from "./a11y";
import { Icon, type IconName } from "./icons";
import { visible } from "./tokens";

/** A dotted name that may go on in the next line after a dot or an underscore. */
export const Breakable = ({ text }: { text: string }) => (
  <>
    {text.split(/(?<=[._/])/).map((part, i) => (
      <Fragment key={`${i} ${part}`}>
        {part}
        <wbr />
      </Fragment>
    ))}
  </>
);

/** Words that end in an ellipsis where there is no room for them; all of them are in the title. */
export const Cut = ({ text, class: name = "" }: { text: string; class?: string }) => (
  <span class={`el ${name}`} title={text}>
    {text}
  </span>
);

/** The button, and the paragraph to put where there is room. */
export function useHelp(name: string, text: ComponentChildren): [VNode, VNode | null, string] {
  const id = useUid("sw-help");
  const [open, setOpen] = useState(false);
  return [
    <button
      key="button"
      type="button"
      class="help"
      aria-label={`Help: ${name}`}
      aria-expanded={open}
      aria-controls={id}
      onClick={() => setOpen(!open)}
      onKeyDown={open ? onEsc(() => setOpen(false)) : undefined}
    >
      ?
    </button>,
    open ? (
      <div key="text" class="help-text" id={id}>
        {text}
      </div>
    ) : null,
    id,
  ];
}

interface ButtonProps {
  text?: ComponentChildren;
  children?: ComponentChildren;
  icon?: IconName;
  kind?: "primary" | "quiet" | "danger" | "link" | "plain";
  small?: boolean;
  label?: string;
  title?: string | undefined;
  disabled?: boolean;
  submit?: boolean;
  expanded?: boolean;
  pressed?: boolean;
  controls?: string;
  describedBy?: string | undefined;
  popup?: "menu";
  tabIndex?: number | undefined;
  class?: string;
  onClick?: (event: MouseEvent) => void;
  onKeyDown?: ((event: KeyboardEvent) => void) | undefined;
}

const KINDS = { primary: "b p", quiet: "b q", danger: "b d", link: "lk", plain: "b" };

/** A button that stays focusable when disabled, so that focus is not lost while an action is under way. */
export function Button(props: ButtonProps) {
  const { icon, kind = "plain", small, label, disabled, text = props.children } = props;
  const size = kind === "link" ? "" : `${small ? " s" : ""}${text ? "" : " ic"}`;
  return (
    <button
      type={props.submit && !disabled ? "submit" : "button"}
      class={`${KINDS[kind]}${size}${props.class ? ` ${props.class}` : ""}`}
      aria-label={label}
      title={props.title ?? (text ? undefined : label)}
      aria-disabled={disabled ? "true" : undefined}
      aria-expanded={props.expanded}
      aria-pressed={props.pressed}
      aria-controls={props.controls}
      aria-describedby={props.describedBy}
      aria-haspopup={props.popup}
      tabIndex={props.tabIndex}
      onKeyDown={props.onKeyDown}
      onClick={(event) => {
        if (!disabled) props.onClick?.(event);
      }}
    >
      {icon && <Icon name={icon} />}
      {text && <span>{text}</span>}
    </button>
  );
}

interface Tab<T extends string> {
  id: T;
  label: string;
  count?: number | string;
}

interface TabsProps<T extends string> {
  label: string;
  tabs: readonly Tab<T>[];
  selected: T;
  /** id of the tab panel these tabs control, prefix of the tabs' own ids. */
  panel: string;
  onSelect: (id: T) => void;
}

export const tabId = (panel: string, tab: string) => `${panel}-tab-${tab}`;

export const Tabs = <T extends string>({ label, tabs, selected, panel, onSelect }: TabsProps<T>) => (
  <div
    class="tabs"
    role="tablist"
    aria-label={label}
    onKeyDown={(event) => {
      const next = rove(event, "[role=tab]");
      const tab = next === null ? undefined : tabs[next];
      if (tab) onSelect(tab.id);
    }}
  >
    {tabs.map((tab) => (
      <button
        key={tab.id}
        type="button"
        role="tab"
        class="tab"
        id={tabId(panel, tab.id)}
        aria-controls={panel}
        aria-selected={tab.id === selected}
        tabIndex={tab.id === selected ? 0 : -1}
        onClick={() => onSelect(tab.id)}
      >
        {tab.label}
        {tab.count !== undefined && (
          <>
            {" "}
            <span class="n">{tab.count}</span>
          </>
        )}
      </button>
    ))}
  </div>
);

/** Values with their labels, as a list or, where they are always the same, as a map. */
export type Choices<T extends string> = readonly { value: T; label: string }[] | Readonly<Record<T, string>>;

const listOf = <T extends string>(of: Choices<T>): readonly { value: T; label: string }[] =>
  Array.isArray(of)
    ? of
    : Object.entries(of as Record<T, string>).map(([value, label]) => ({ value: value as T, label: label as string }));

interface SegmentsProps<T extends string> {
  label: string;
  options: Choices<T>;
  /** Without one the first has the tab stop. */
  selected: T | null;
  onSelect: (value: T) => void;
  class?: string;
  nameOf?: (value: T) => string;
  /** Below the label of each. */
  below?: (value: T) => ComponentChildren;
}

export function Segments<T extends string>({ label, options, selected, onSelect, ...props }: SegmentsProps<T>) {
  const all = listOf(options);
  const stop = all.some(({ value }) => value === selected) ? selected : all[0]?.value;
  return (
    <div
      class={props.class ?? "seg"}
      role="radiogroup"
      aria-label={label}
      onKeyDown={(event) => {
        const next = rove(event, "[role=radio]");
        const option = next === null ? undefined : all[next];
        if (option) onSelect(option.value);
      }}
    >
      {all.map((option) => (
        // biome-ignore lint/a11y/useSemanticElements: drawn as segments; arrows, roles and states are all here
        <button
          key={option.value}
          type="button"
          role="radio"
          aria-checked={option.value === selected}
          aria-label={props.nameOf?.(option.value)}
          tabIndex={option.value === stop ? 0 : -1}
          onClick={() => onSelect(option.value)}
        >
          {option.label}
          {props.below?.(option.value)}
        </button>
      ))}
    </div>
  );
}

export const Options = <T extends string>({ of }: { of: Choices<T> }) =>
  listOf(of).map((option) => (
    <option key={option.value} value={option.value}>
      {option.label}
    </option>
  ));

interface CheckboxProps {
  /** Its name, where that is not the text beside it. */
  label?: string;
  text?: ComponentChildren;
  children?: ComponentChildren;
  checked: boolean;
  mixed?: boolean;
  disabled?: boolean;
  onChange: (checked: boolean) => void;
}

export function Checkbox({ label, children, text = children, checked, mixed, disabled, onChange }: CheckboxProps) {
  const id = useUid("sw-check");
  const input = (
    <input
      id={id}
      type="checkbox"
      aria-label={label ?? String(text)}
      checked={checked}
      disabled={disabled}
      ref={(box) => {
        if (box) box.indeterminate = mixed ?? false;
      }}
      onChange={(event) => onChange(event.currentTarget.checked)}
    />
  );
  return text === undefined ? (
    input
  ) : (
    <label class="ck" for={id}>
      {input} {text}
    </label>
  );
}

export interface NoteProps {
  tone?: "err" | "warn" | "info" | "int" | "plain";
  title: ComponentChildren;
  children?: ComponentChildren;
  /** The object, setting or file it is about: last, since it is a name and no sentence. */
  where?: string | null;
  actions?: ComponentChildren;
}

/** Icon, and the status whose colours it has. */
const TONES = {
  err: ["fail", "failed"],
  warn: ["warn", "paused"],
  info: ["info", "running"],
  int: ["interrupted", "interrupted"],
  plain: ["info"],
} as const;

/** Plain text names things that strangers have named. */
const shown = (content: ComponentChildren): ComponentChildren =>
  typeof content === "string" ? visible(content) : content;

export function NoteBox({ tone = "plain", title, children, where, actions }: NoteProps): JSX.Element {
  const [icon, status] = TONES[tone];
  const colours = status && { "--nc": `var(--sw-${status})`, "--nb": `var(--sw-${status}-soft)` };
  return (
    <div class={`note ${status ? tone : ""}`} style={colours} role={tone === "err" ? "alert" : "status"}>
      <Icon name={icon} />
      <div class="txt">
        <b>{shown(title)}</b> {shown(children)}
        {where && (
          <>
            {" "}
            <code class="t2">
              <Breakable text={visible(where)} />
            </code>
          </>
        )}
      </div>
      {actions && <div class="acts">{actions}</div>}
    </div>
  );
}
