/** The question that some files leave open: is b_dec subtracted from the input? */
import { useUid } from "./a11y";
import { Options } from "./controls";

const ANSWERS = [
  { value: "", label: "As the files say" },
  { value: "true", label: "Yes" },
  { value: "false", label: "No" },
];

/** Is a failure or warning about it? */
export const asksConvention = (said: { what: string; where?: string | null; hint: string | null } | null | undefined) =>
  [said?.what, said?.where, said?.hint].join().includes("apply_b_dec_to_input");

interface ConventionProps {
  value: boolean | null | undefined;
  onChange: (value: boolean | null) => void;
}

export function Convention({ value, onChange }: ConventionProps) {
  const id = useUid("sw-convention");
  return (
    <div class="f">
      <label for={id}>Subtract b_dec from the input</label>
      <select
        id={id}
        aria-describedby={`${id}-hint`}
        value={String(value ?? "")}
        onChange={({ currentTarget: { value: chosen } }) => onChange(chosen === "" ? null : chosen === "true")}
      >
        <Options of={ANSWERS} />
      </select>
      <p class="hint" id={`${id}-hint`}>
        The files leave it open
      </p>
    </div>
  );
}
