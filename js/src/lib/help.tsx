/** What a figure or a setting means, opened by a small button beside its name. */
import type { ComponentChildren, VNode } from "preact";
import { useState } from "preact/hooks";
import { onEsc, useUid } from "./a11y";

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
