/** The question that some files leave open: is b_dec subtracted from the input? */
import { Choice } from "./kit";

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

export const Convention = ({ value, onChange }: ConventionProps) => (
  <Choice
    label="Subtract b_dec from the input"
    hint="The files leave it open"
    options={ANSWERS}
    value={String(value ?? "")}
    onPick={(chosen) => onChange(chosen === "" ? null : chosen === "true")}
  />
);
