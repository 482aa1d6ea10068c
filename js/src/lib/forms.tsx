/** What the forms of all widgets are made of. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren, InputHTMLAttributes, Ref } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useOpened, useUid } from "./a11y";
import { Breakable, Button, type Choices, Options, useHelp } from "./controls";
import { Icon } from "./icons";
import type { PickProps } from "./kit";
import { during } from "./store";

interface Control {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": true | undefined;
}

interface FieldBoxProps {
  label: string;
  hint?: ComponentChildren;
  error?: string | null | undefined;
  alert?: boolean;
  help?: ComponentChildren;
  class?: string | undefined;
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

type Attributes = Omit<InputHTMLAttributes<HTMLInputElement>, "class" | "label" | "onInput" | "ref" | "value">;

interface FieldProps extends Attributes, Omit<FieldBoxProps, "alert" | "children" | "tick"> {
  /** Without one the box keeps what is typed to itself. */
  value?: string;
  onInput?: (text: string) => void;
  /** A path or another name for machines. */
  mono?: boolean;
  rows?: number;
  input?: Ref<HTMLInputElement>;
}

export const Field = ({ label, onInput, hint, error, help, class: name, mono, rows, input, ...rest }: FieldProps) => (
  <FieldBox label={label} hint={hint} error={error} help={help} alert class={name}>
    {(control) => {
      const common = {
        ...{ autocomplete: "off", dir: "auto", ...control, ...rest, ref: input as never },
        onInput: (event: Event) => onInput?.((event.currentTarget as HTMLInputElement).value),
      } as object;
      if (rows) return <textarea rows={rows} {...common} />;
      return <input type="text" class={mono ? "mono" : undefined} spellcheck={mono ? false : undefined} {...common} />;
    }}
  </FieldBox>
);

/** A token or a key, masked; `input` gives what is typed, which goes nowhere by itself. */
export const AccessToken = ({ label = "Access token", ...props }: Partial<FieldProps>) => (
  <Field
    label={label}
    type="password"
    spellcheck={false}
    {...{ "data-1p-ignore": "", "data-lpignore": "true", "data-bwignore": "true" }}
    {...props}
  />
);

interface SettingProps extends Attributes, Omit<FieldBoxProps, "alert" | "children" | "tick"> {
  name: string;
  value: string | boolean;
  options?: Choices<string> | undefined;
  mono?: boolean;
  focus: { name: string } | null;
  onSet: (value: string | boolean) => void;
}

/** A setting as Python describes it: a box to tick, a list or a text box. */
export function SettingField({ name, label, value, options, mono, focus, onSet, ...props }: SettingProps) {
  const { hint, error, help, class: kind, ...rest } = props;
  const input = useRef<HTMLElement>(null);
  useLayoutEffect(() => {
    if (focus?.name !== name) return;
    const details = input.current?.closest("details");
    if (details) details.open = true; // before the focus: what is folded away cannot take it
    input.current?.focus();
    input.current?.scrollIntoView?.({ block: "nearest" });
  }, [focus, name]);
  const ref = input as never;
  const tick = typeof value === "boolean";
  return (
    <FieldBox label={label} hint={hint} error={error} help={help} class={kind} tick={tick}>
      {(control) => {
        if (tick) {
          return (
            <label class="ck">
              <input
                {...{ ...control, ref }}
                type="checkbox"
                checked={value}
                onChange={(event) => onSet(event.currentTarget.checked)}
              />
              {label}
            </label>
          );
        }
        if (options) {
          return (
            <select {...{ ...control, ref }} value={value} onChange={(event) => onSet(event.currentTarget.value)}>
              <Options of={options} />
            </select>
          );
        }
        return (
          <input
            {...{ type: "text", autocomplete: "off", autocapitalize: "off", spellcheck: false, ...(rest as object) }}
            {...{ ...control, ref }}
            class={mono ? "mono" : undefined}
            value={value}
            onInput={(event) => onSet(event.currentTarget.value)}
          />
        );
      }}
    </FieldBox>
  );
}

interface ChoiceProps<T extends string> extends Pick<PickProps<T>, "label" | "options" | "value" | "onPick"> {
  hint?: string | undefined;
}

export const Choice = <T extends string>({ label, hint, options, value, onPick }: ChoiceProps<T>) => (
  <FieldBox label={label} hint={hint}>
    {(control) => (
      <select {...control} value={value} onChange={(event) => onPick(event.currentTarget.value as T)}>
        <Options of={options} />
      </select>
    )}
  </FieldBox>
);

interface InlineFormProps {
  label: string;
  submit: string;
  cancel?: string;
  disabled: boolean;
  onSubmit: () => void;
  onClose: () => void;
  select?: boolean;
  /** What was found wrong: the first box gets the focus again. */
  wrong?: string | null;
  /** It stands in another form, where no form can stand: Enter is kept from that. */
  nested?: boolean;
  more?: ComponentChildren;
  children: ComponentChildren;
}

export function InlineForm({ label, submit, disabled, onClose, nested, children, ...props }: InlineFormProps) {
  const box = useOpened("input, textarea", props.select, props.wrong);
  const send = (event: Event) => {
    event.preventDefault();
    if (!disabled) props.onSubmit();
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
  field: string;
  hint: string;
  path?: string;
  working: string;
  /** True when it worked: the form closes then. */
  onPath: (path: string) => Promise<boolean>;
  children?: ComponentChildren;
}

export function PathForm({ field, hint, path = "", working, onPath, children, ...form }: PathFormProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const busy = useSignal(false);
  const value = typed ?? path;
  const send = async () => {
    if (await during(busy, onPath(value.trim()))) form.onClose();
  };
  const disabled = busy.value || value.trim() === "";
  return (
    <InlineForm {...form} submit={busy.value ? working : form.submit} disabled={disabled} onSubmit={send}>
      {children}
      <Field class="grow" label={field} mono value={value} onInput={setTyped} hint={hint} />
    </InlineForm>
  );
}

// ------------------------------------------------------------------------------------------------ the convention of b_dec

const ANSWERS: Record<string, string> = { "": "As the files say", true: "Yes", false: "No" };

export const asksConvention = (said: { what: string; where?: string | null; hint: string | null } | null | undefined) =>
  [said?.what, said?.where, said?.hint].join().includes("apply_b_dec_to_input");

interface ConventionProps {
  value: boolean | null | undefined;
  onChange: (value: boolean | null) => void;
}

export const Convention = ({ value, onChange }: ConventionProps) => (
  <Choice
    label="Subtract b_dec from the input"
    hint="The files leave it open"
    options={ANSWERS}
    value={String(value ?? "")}
    onPick={(chosen) => onChange(chosen === "" ? null : chosen === "true")}
  />
);
