/** Activations captured before, to train from instead of text: picking one fills in what it decides. */
import { useRef, useState } from "preact/hooks";
import { onEsc, useUid } from "../lib/a11y";
import { Answered, useAnswer } from "../lib/ask";
import { Button, Cut } from "../lib/controls";
import { CodeLine } from "../lib/copy";
import * as f from "../lib/format";
import { Pick } from "../lib/kit";
import { num, Table, unseen } from "../lib/table";
import type { StoreRow } from "../lib/wire";
import type { FormController } from "./form-controller";
import { ARCHITECTURE, HOOK, HOOK_OUT, type Values } from "./form-state";
import type { Store } from "./store";

// ------------------------------------------------------------------------------------------------ what it decides

const wholeOf = (hook: string): string => hook.replace(/(\.hook_z)\.\d+$/, "$1");

/** The hook points of a store to choose from: a head that the form names is in the rows of all heads. */
export const hooksOf = (row: StoreRow, now: string): readonly string[] =>
  !row.hook_names.includes(now) && row.hook_names.includes(wholeOf(now)) ? [...row.hook_names, now] : row.hook_names;

/** What a training that reads `hook` of this store puts into the form: no more tokens than the store has. */
export function takenFrom(row: StoreRow, hook: string, values: Values, transcoder: boolean): Record<string, unknown> {
  const taken: Record<string, unknown> = { ...row.values, [HOOK]: hook };
  const out = String(values[HOOK_OUT] ?? "");
  if (transcoder && (out === hook || !hooksOf(row, out).includes(out))) {
    taken[HOOK_OUT] = row.hook_names.find((name) => name !== hook) ?? null;
  }
  const tokens = f.parseInteger(String(values.tokens ?? ""));
  if (tokens !== null && tokens > row.tokens) taken.tokens = row.tokens;
  return taken;
}

// ------------------------------------------------------------------------------------------------ the list

function captures(values: FormController["values"]["value"]): { python: string; shell: string } {
  const [model, corpus] = [String(values.model || "demo"), String(values.corpus || "demo")];
  const hooks = String(values[HOOK] || "blocks.0.hook_resid_post").split(/\s*,\s*/);
  const listed = hooks.map((hook) => JSON.stringify(hook)).join(", ");
  const quoted = (text: string) => (/^[\w./:@-]+$/.test(text) ? text : `'${text.replace(/'/g, "'\\''")}'`);
  const named = hooks.map((hook) => `--hook-name ${quoted(hook)}`).join(" ");
  return {
    python: `ws.activations.capture(${JSON.stringify(model)}, ${JSON.stringify(corpus)}, ${hooks.length > 1 ? `[${listed}]` : listed}, tokens=1_000_000)`,
    shell: `saewidgets activations capture ${quoted(model)} --corpus ${quoted(corpus)} ${named} --tokens 1000000`,
  };
}

export function Stores({ store, controller }: { store: Store; controller: FormController }) {
  const [shown, setShown] = useState(false);
  const id = useUid("sw-stores");
  const root = useRef<HTMLDivElement>(null);
  const close = () => {
    setShown(false);
    root.current?.querySelector("button")?.focus();
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Esc in it closes the list first, then the form
    <div ref={root} class="c6s stores" onKeyDown={shown ? onEsc(close) : undefined}>
      <Button
        text="Use stored activations"
        kind="link"
        expanded={shown}
        controls={id}
        onClick={() => setShown(!shown)}
      />
      <div id={id}>
        {shown && (
          <List
            store={store}
            controller={controller}
            onPick={(row, hook) => {
              const values = controller.values.value;
              const transcoder = String(values[ARCHITECTURE]).includes("transcoder");
              controller.fill(takenFrom(row, hook, values, transcoder));
              setShown(false);
              store.announce(`${row.name} fills in the dataset, the model and the hook name.`);
              controller.focus.value = { name: "corpus" };
            }}
          />
        )}
      </div>
    </div>
  );
}

interface ListProps {
  store: Store;
  controller: FormController;
  onPick: (row: StoreRow, hook: string) => void;
}

function List({ store, controller, onPick }: ListProps) {
  const architecture = String(controller.values.value[ARCHITECTURE] ?? "");
  const asked = useAnswer(store.rpc, { kind: "list_stores", architecture }, architecture);
  const [chosen, setChosen] = useState<Record<string, string>>({}); // hook points, by store
  const uid = useUid("sw-store");
  const values = controller.values.value;
  const now = String(values[HOOK] ?? "");
  const cellsOf = (row: StoreRow) => {
    const hooks = hooksOf(row, now);
    const hook = chosen[row.id] ?? (hooks.includes(now) ? now : (hooks[0] ?? ""));
    const why = row.problem ? `${uid}-${row.id}` : undefined;
    return [
      values.corpus === row.id && (hook === now || hook === values[HOOK_OUT]) ? (
        <span class="sm t2">in use</span>
      ) : (
        <Button
          text="Use"
          small
          label={`Use ${row.name}`}
          disabled={row.problem !== ""}
          describedBy={why}
          onClick={() => onPick(row, hook)}
        />
      ),
      <>
        <Cut text={row.name} />
        <span class="sm t2">{[row.model || "model not known", row.corpus].join(" · ")}</span>
        {row.problem && (
          <span class="sm t2" id={why}>
            {row.problem}
          </span>
        )}
      </>,
      hooks.length > 1 ? (
        <Pick
          label={`Hook point of ${row.name}`}
          value={hook}
          disabled={row.problem !== ""}
          options={hooks.map((name) => ({ value: name, label: name }))}
          onPick={(name) => setChosen({ ...chosen, [row.id]: name })}
        />
      ) : (
        <code>{hook}</code>
      ),
      f.tokens(row.tokens),
      row.size_bytes === null ? f.DASH : f.bytes(row.size_bytes),
    ];
  };
  return (
    <Answered of={asked} wait="Asking the kernel for the stores…">
      {(stores) =>
        stores.length === 0 ? (
          <NoStores controller={controller} />
        ) : (
          <Table
            label="Activation stores"
            box="xs-scroll tall"
            columns={[
              unseen("Actions", "nw"),
              { head: "Store", class: "store" },
              "Hook point",
              ...[num("Tokens"), num("Size")],
            ]}
            rows={stores.map((row) => ({ key: row.id, cells: cellsOf(row), class: row.problem ? "off" : undefined }))}
          />
        )
      }
    </Answered>
  );
}

function NoStores({ controller }: { controller: FormController }) {
  const { python, shell } = captures(controller.values.value);
  return (
    <div class="notes mt8">
      <p class="sm t2">
        No stored activations yet. Captured once, they feed any number of trainings without running the language model
        again.
      </p>
      <CodeLine words="In a cell:" code={python} />
      <CodeLine words="In a terminal:" code={shell} />
    </div>
  );
}
