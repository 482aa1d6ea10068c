/** Writes features to a file or a folder, on the kernel's machine. */

import { useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Options } from "../lib/controls";
import { Field, InlineForm } from "../lib/kit";
import type { ExportKind, ViewerCommand } from "../lib/wire";
import type { Store } from "./store";
import { EXPORTS, slug } from "./words";

export type Scope = "all" | "query" | "one";

interface ExportProps {
  store: Store;
  /** Where it is said what came of it. */
  place: string;
  extraction: string;
  name: string;
  what: ExportKind;
  scopes: readonly { value: Scope; label: string }[];
  /** The feature that is shown. */
  index?: number;
  onClose: () => void;
}

export function ExportForm({ store, place, extraction, name, what, scopes, index, onClose }: ExportProps) {
  const id = useUid("sw-export");
  const [kind, setKind] = useState(what);
  const [scope, setScope] = useState<Scope>(scopes[0]?.value ?? "all");
  const [typed, setTyped] = useState<string | null>(null);
  const choice = EXPORTS.find((one) => one.value === kind);
  const proposed = `${slug(name)}${scope === "one" ? `-${index}` : ""}${choice?.end ?? ""}`;
  const path = typed ?? proposed;
  const busy = store.working.value;
  const submit = async () => {
    const command: Extract<ViewerCommand, { kind: "export_features" }> = {
      kind: "export_features",
      extraction_id: extraction,
      what: kind,
      path: path.trim(),
      indices: scope === "one" && index !== undefined ? [index] : null,
      query: scope === "query" ? store.view.value.query : null,
    };
    if (await store.export(place, command)) onClose();
  };
  return (
    <InlineForm
      label={`Export features of ${name}`}
      submit={busy ? "Writing…" : "Write"}
      disabled={busy || path.trim() === ""}
      onSubmit={() => void submit()}
      onClose={onClose}
    >
      <div class="f">
        <label for={`${id}-what`}>Format</label>
        <select id={`${id}-what`} value={kind} onChange={(event) => setKind(event.currentTarget.value as ExportKind)}>
          <Options of={EXPORTS} />
        </select>
        <p class="hint">{choice?.hint}</p>
      </div>
      <div class="f">
        <label for={`${id}-scope`}>Features</label>
        <select id={`${id}-scope`} value={scope} onChange={(event) => setScope(event.currentTarget.value as Scope)}>
          <Options of={scopes} />
        </select>
      </div>
      <Field
        class="grow"
        label="Write to"
        mono
        value={path}
        onInput={setTyped}
        hint="On the kernel's machine; counted from the notebook's folder"
      />
    </InlineForm>
  );
}
