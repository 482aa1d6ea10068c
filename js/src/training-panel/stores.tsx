/** Activations captured before, to train from instead of text: picking one fills in what it decides. */

import { useRef, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { useAnswer } from "../lib/ask";
import { CodeLine } from "../lib/code-line";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { Pick } from "../lib/kit";
import { Failed } from "../lib/notes";
import type { StoreRow } from "../lib/wire";
import type { FormController } from "./form-controller";
import { ARCHITECTURE, HOOK, HOOK_OUT } from "./form-state";
import type { Store } from "./store";
import { hooksOf, takenFrom } from "./stores-state";

/** How to capture what the form has now, in a cell and in a terminal. */
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
    <div
      ref={root}
      class="c6s stores"
      onKeyDown={(event) => {
        if (event.key !== "Escape" || event.defaultPrevented || !shown) return;
        event.preventDefault();
        close();
      }}
    >
      <Button kind="link" expanded={shown} controls={id} onClick={() => setShown(!shown)}>
        Use stored activations
      </Button>
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
  const { data, problem, again } = useAnswer(store.rpc, { kind: "list_stores", architecture }, architecture);
  if (problem) {
    return <Failed problem={problem} title={problem.what} onAgain={again} />;
  }
  if (!data) {
    return (
      <p class="sm t2" role="status">
        Asking the kernel for the stores…
      </p>
    );
  }
  if (data.stores.length === 0) return <NoStores controller={controller} />;
  return (
    <div class="xs-scroll tall">
      <table aria-label="Activation stores">
        <thead>
          <tr>
            <th>
              <span class="vh">Actions</span>
            </th>
            <th>Store</th>
            <th>Hook point</th>
            <th class="num">Tokens</th>
            <th class="num">Size</th>
          </tr>
        </thead>
        <tbody>
          {data.stores.map((row) => (
            <Row key={row.id} row={row} controller={controller} onPick={onPick} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ row, controller, onPick }: { row: StoreRow } & Omit<ListProps, "store">) {
  const values = controller.values.value;
  const now = String(values[HOOK] ?? "");
  const [chosen, setChosen] = useState<string | null>(null);
  const hooks = hooksOf(row, now);
  const hook = chosen ?? (hooks.includes(now) ? now : (hooks[0] ?? ""));
  const uid = useUid("sw-store");
  const used = values.corpus === row.id && (hook === now || hook === values[HOOK_OUT]);
  return (
    <tr class={row.problem ? "off" : undefined}>
      <td class="nw">
        {used ? (
          <span class="sm t2">in use</span>
        ) : (
          <Button
            small
            label={`Use ${row.name}`}
            disabled={row.problem !== ""}
            describedBy={row.problem ? `${uid}-why` : undefined}
            onClick={() => onPick(row, hook)}
          >
            Use
          </Button>
        )}
      </td>
      <td class="store">
        <span class="el" title={row.name}>
          {row.name}
        </span>
        <span class="sm t2">{[row.model || "model not known", row.corpus].join(" · ")}</span>
        {row.problem && (
          <span class="sm t2" id={`${uid}-why`}>
            {row.problem}
          </span>
        )}
      </td>
      <td>
        {hooks.length > 1 ? (
          <Pick
            label={`Hook point of ${row.name}`}
            value={hook}
            disabled={row.problem !== ""}
            options={hooks.map((name) => ({ value: name, label: name }))}
            onPick={setChosen}
          />
        ) : (
          <code>{hook}</code>
        )}
      </td>
      <td class="num">{f.tokens(row.tokens)}</td>
      <td class="num">{row.size_bytes === null ? f.DASH : f.bytes(row.size_bytes)}</td>
    </tr>
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
