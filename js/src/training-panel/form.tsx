/** New training: opens in place, above the list. */
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { Button, NoteBox } from "../lib/controls";
import { Icon } from "../lib/icons";
import type { FormField, Section } from "../lib/protocol";
import { Estimate } from "./estimate";
import { Field, LAYER_FIELD, SITE_FIELD } from "./fields";
import { FormController } from "./form-controller";
import * as form from "./form-state";
import type { FormRequest, Store } from "./store";

const GROUPS: [Section, string][] = [
  ["model", "Model & data"],
  ["where", "Where to look"],
  ["sae", "Autoencoder"],
  ["training", "Training"],
];

export function Form({ store, request }: { store: Store; request: FormRequest }) {
  const controller = useMemo(() => new FormController(store, request.from), [store, request]);
  const root = useRef<HTMLFormElement>(null);
  const ready = controller.data.value !== null;

  useEffect(() => {
    void controller.open();
    return () => controller.close();
  }, [controller]);
  useLayoutEffect(() => {
    root.current?.querySelector<HTMLElement>(ready ? "input" : "button")?.focus();
    root.current?.scrollIntoView?.({ block: "nearest" });
  }, [ready]);

  // Esc and the cross keep what was typed for the next time; Cancel drops it.
  const leave = (keep: boolean) => {
    if (!keep) controller.dropDraft();
    store.form.value = null;
  };

  return (
    <form
      ref={root}
      aria-label="New training"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void controller.start();
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape" && !event.defaultPrevented) {
          event.preventDefault();
          leave(true);
        }
      }}
    >
      <div class="hd">
        <h2>New training</h2>
        {request.from && <span class="sm t2 sub">{`with the settings of ${request.from.name}`}</span>}
        <div class="sp" />
        <Button kind="quiet" icon="close" label="Close form" onClick={() => leave(true)} />
      </div>
      {ready && <Groups controller={controller} />}
      {!ready && !controller.problem.value && (
        <p class="bd sm t2" role="status">
          {controller.late.value
            ? "Kernel busy. The form opens when the running cell ends."
            : "Asking the kernel for the form…"}
        </p>
      )}
      {ready && (
        <Estimate
          estimate={controller.check.value?.estimate ?? null}
          checking={controller.checking.value}
          bad={Object.keys(controller.errors.value).length > 0}
        />
      )}
      <FormNotes controller={controller} />
      <FormFooter controller={controller} onCancel={() => leave(false)} />
    </form>
  );
}

function Groups({ controller }: { controller: FormController }) {
  const fields = controller.fields.value;
  const draw = (list: FormField[]) =>
    list.flatMap((field) => {
      const own = field.name === form.HOOK ? [LAYER_FIELD, SITE_FIELD, field] : [field];
      return own.map((one) => <Field key={one.name} controller={controller} field={one} />);
    });
  const advanced = form.inSection(fields, "advanced");
  const changed = form.changedCount(advanced, controller.values.value);
  return (
    <>
      {GROUPS.map(([section, title]) => (
        <fieldset key={section}>
          <legend>{title}</legend>
          <div class={`g g-${section}`}>
            {draw(form.inSection(fields, section))}
            {section === "training" && advanced.length > 0 && (
              <div class="c6s">
                <details>
                  <summary>
                    <Icon name="right" />
                    {`Advanced: ${advanced.length} settings${changed ? `, ${changed} changed` : ""}`}
                  </summary>
                  <div class="g">{draw(advanced)}</div>
                </details>
              </div>
            )}
          </div>
        </fieldset>
      ))}
    </>
  );
}

function FormNotes({ controller }: { controller: FormController }) {
  const loose = form.looseErrors(controller.fields.value, controller.errors.value);
  const problem = controller.problem.value;
  const late = controller.data.value ? controller.late.value : null;
  if (!problem && !late && loose.length === 0) return null;
  return (
    <div class="bd notes">
      {loose.map((text) => (
        <NoteBox key={text} tone="err" title={text} />
      ))}
      {problem && (
        <NoteBox
          tone="err"
          title={problem.what}
          actions={
            controller.data.value === null && (
              <Button
                small
                onClick={() => {
                  controller.problem.value = null;
                  void controller.open();
                }}
              >
                Try again
              </Button>
            )
          }
        >
          {problem.hint}
        </NoteBox>
      )}
      {late && (
        <NoteBox title="Kernel busy.">{`${late} is queued and takes effect when the running cell ends.`}</NoteBox>
      )}
    </div>
  );
}

function FormFooter({ controller, onCancel }: { controller: FormController; onCancel: () => void }) {
  const fields = controller.fields.value;
  const errors = controller.errors.value;
  const bad = form.fieldOrder(fields).filter((name) => name in errors);
  const starting = controller.starting.value;
  return (
    <div class="ft2">
      {bad.length > 0 && (
        <div class="attention">
          <span class="st failed">
            <Icon name="warn" />
          </span>
          <span class="sm">
            {bad.length === 1 ? "1 field needs attention: " : `${bad.length} fields need attention: `}
            {bad.map((name, i) => (
              <span key={name}>
                {i > 0 && ", "}
                <Button
                  kind="link"
                  onClick={() => {
                    controller.focus.value = { name };
                  }}
                >
                  {form.labelOf(fields, name)}
                </Button>
              </span>
            ))}
          </span>
        </div>
      )}
      <div class="sp" />
      <Button onClick={onCancel}>Cancel</Button>
      <Button kind="primary" icon="play" disabled={starting} onClick={() => void controller.start()}>
        {starting ? "Starting…" : "Start training"}
      </Button>
    </div>
  );
}
