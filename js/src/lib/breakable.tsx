/** Long names in narrow columns. */
import { Fragment } from "preact";

/** A dotted name that may go on in the next line after a dot or an underscore. */
export function Breakable({ text }: { text: string }) {
  return (
    <>
      {text.split(/(?<=[._/])/).map((part, i) => (
        <Fragment key={`${i} ${part}`}>
          {part}
          <wbr />
        </Fragment>
      ))}
    </>
  );
}
