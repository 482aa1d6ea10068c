/** A name as a text box, in place of the name. */
import { useLayoutEffect, useRef } from "preact/hooks";
import { Button } from "./controls";

interface RenameProps {
  name: string;
  /** Called with a name that is another one and not empty. Where it comes to `false` the box stays as it is. */
  onSave: (name: string) => unknown;
  onDone: () => void;
}

export function Rename({ name, onSave, onDone }: RenameProps) {
  const input = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => {
    input.current?.focus();
    input.current?.select();
  }, []);
  const save = async () => {
    const typed = input.current?.value.trim() ?? "";
    if (typed && typed !== name && (await onSave(typed)) === false) input.current?.focus();
    else onDone();
  };
  return (
    <span class="rename">
      <input
        ref={input}
        aria-label={`New name of ${name}`}
        defaultValue={name}
        maxLength={120}
        onKeyDown={(event) => {
          if (event.key === "Enter") {
            event.preventDefault();
            void save();
          }
        }}
      />
      <Button text="Save name" small onClick={() => void save()} />
      <Button small kind="quiet" icon="close" label="Keep the old name" onClick={onDone} />
    </span>
  );
}
