/** What the training will cost: memory by part, time, disk. */
import { NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import type { Elsewhere, Estimate as EstimateData } from "../lib/wire";

interface EstimateProps {
  estimate: EstimateData | null;
  checking: boolean;
  bad: boolean;
  count: number;
}

export function Estimate({ estimate, checking, bad, count }: EstimateProps) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a group of results, not of form fields
    <div class="est" role="group" aria-label="Estimate" aria-busy={checking}>
      {estimate ? (
        <>
          {count > 1 && <p class="all sm t2">{`Of all ${count} trainings together:`}</p>}
          <Memory estimate={estimate} />
          <MemoryElsewhere parts={estimate.elsewhere} />
          <Time estimate={estimate} />
          <Disk estimate={estimate} />
          {estimate.warnings.length > 0 && (
            <div class="warnings notes">
              {estimate.warnings.map((text) => (
                <NoteBox key={text} tone="warn" title={firstSentence(text)[0]}>
                  {firstSentence(text)[1]}
                </NoteBox>
              ))}
            </div>
          )}
        </>
      ) : (
        <p class="sm t2" role="status">
          {checking ? "Checking…" : bad ? "No estimate while a field needs attention." : "No estimate."}
        </p>
      )}
    </div>
  );
}

function firstSentence(text: string): [string, string] {
  const end = text.search(/[.!?] /);
  return end < 0 ? [text, ""] : [text.slice(0, end + 1), text.slice(end + 2)];
}

const SERIES = [1, 4, 5, 3, 2, 6]; // the colours of neighbours differ most in this order
const colour = ({ key }: { key: string }) => ({ "--c": `var(--sw-${key})` });

function Memory({ estimate }: { estimate: EstimateData }) {
  const { memory, memory_total_bytes: used, device_total_bytes: total, device_free_bytes: free } = estimate;
  const others = total !== null && free !== null ? Math.max(0, total - free) : 0;
  const whole = Math.max(total ?? 0, used + others, 1);
  const parts = memory.map((segment, i) => ({ ...segment, key: `s${SERIES[i % 6]}` })).filter(({ bytes }) => bytes > 0); // stored activations need no model
  if (others > 0) parts.push({ label: "Other programs", bytes: others, key: "border-2" });
  const spoken = parts.map((segment) => `${segment.label} ${f.bytes(segment.bytes)}`).join(", ");
  return (
    <div>
      <div class="row sm">
        <b>Memory</b>
        <span class="nw">{total === null ? f.bytes(used) : f.bytesOf(used, total)}</span>
        {others > 0 && <span class="t2 hw">{`${f.bytes(others)} used by others`}</span>}
      </div>
      <div class="stack" role="img" aria-label={`Memory on ${estimate.device}: ${spoken}`}>
        {parts.map((segment) => (
          <i key={segment.key} style={{ ...colour(segment), width: `${(segment.bytes / whole) * 100}%` }} />
        ))}
      </div>
      <div class="lg">
        {parts.map((segment) => (
          <span key={segment.key}>
            <i class="swatch" style={colour(segment)} />
            {`${segment.label} ${f.bytes(segment.bytes)}`}
          </span>
        ))}
      </div>
    </div>
  );
}

/** What other devices hold: the language model, or the shuffle window. */
function MemoryElsewhere({ parts }: { parts: Elsewhere[] }) {
  return parts.map(({ device, memory, total_bytes: used, free_bytes: free }) => (
    <div class="sm" key={device}>
      <b>{`Memory of ${device}`}</b> {f.bytes(used)}
      <p class="t2">
        {[
          ...memory.map((segment) => `${segment.label} ${f.bytes(segment.bytes)}`),
          ...(free === null ? [] : [`${f.bytes(free)} free`]),
        ].join(", ")}
      </p>
    </div>
  ));
}

function Time({ estimate }: { estimate: EstimateData }) {
  const { seconds, tokens_per_second: rate, basis, queue, queue_seconds: wait } = estimate;
  const facts = [
    rate === null ? "" : `${f.tokens(rate)} tok/s`,
    seconds === null && rate === null ? "" : basis, // otherwise it is what stands in place of the time
  ].filter(Boolean);
  const lines = [
    facts.join(", "),
    queue > 0
      ? `starts after ${f.plural(queue, "run")} on ${estimate.device}${wait === null ? "" : `, ≈ ${f.duration(wait)}`}`
      : "",
  ].filter(Boolean);
  return (
    <div class="sm">
      <b>Time</b>{" "}
      {seconds !== null
        ? `≈ ${f.duration(seconds)}`
        : rate !== null
          ? "known once the text is counted"
          : basis || "not measured on this device yet"}
      {lines.length > 0 && <p class="t2">{lines.join("; ")}</p>}
    </div>
  );
}

function Disk({ estimate }: { estimate: EstimateData }) {
  return (
    <div class="sm">
      <b>Disk</b> {f.bytes(estimate.disk_bytes)}
      {estimate.disk_free_bytes !== null && <p class="t2">{`${f.bytes(estimate.disk_free_bytes)} free`}</p>}
    </div>
  );
}
