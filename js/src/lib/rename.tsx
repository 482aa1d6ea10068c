/** A name as a text box, in place of the name. */
import { useLayoutEffect, useRef } from "preact/hooks";
import { Button } from "./controls";

interface RenameProps {
  name: string;
  /** Called with a name that is another one and not empty. */
  onSave: (name: string) => void;
  onDone: () => void;
}

export function Rename({ name, onSave, onDone }: RenameProps) {
  const input = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => {
    input.current?.focus();
    input.current?.select();
  }, []);
  const save = () => {
    const typed = input.current?.value.trim() ?? "";
    onDone();
    if (typed && typed !== name) onSave(typed);
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
            save();
          }
        }}
      />
      <Button small onClick={save}>
        Save name
      </Button>
      <Button small kind="quiet" icon="close" label="Keep the old name" onClick={onDone} />
    </span>
  );
}
