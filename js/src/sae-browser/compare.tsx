/** Two SAEs side by side: which latents of one have a near twin in the other. */
import { useOpened } from "../lib/a11y";
import { Answered, useAnswer } from "../lib/ask";
import { Breakable, Button } from "../lib/controls";
import * as f from "../lib/format";
import { Histogram } from "../lib/histogram";
import { put } from "../lib/kit";
import { Facts, num, Table } from "../lib/table";
import type { LatentMatch, SaeComparison, SelectedSae } from "../lib/wire";
import type { Store } from "./store";

export function Compare({ store, pair }: { store: Store; pair: readonly [SelectedSae, SelectedSae] }) {
  const [first, second] = pair;
  const root = useOpened<HTMLElement>("button");
  const command = { kind: "compare_saes", first: first.id, second: second.id } as const;
  const asked = useAnswer(store.rpc, command, `${first.id}\n${second.id}`);
  return (
    <section ref={root} class="compare" aria-label="Comparison">
      <div class="tb">
        <Button text="Back to SAEs" small icon="left" onClick={put(store.compared, null)} />
        <span class="sm el" title={`${first.name} and ${second.name}`}>
          <b>{first.name}</b> <span class="t2">with</span> <b>{second.name}</b>
        </span>
        <div class="sp" />
        <Button text="Swap" small kind="quiet" icon="retry" onClick={put(store.compared, [second, first])} />
      </div>
      <div class="bd stats" aria-busy={asked.busy}>
        <Answered of={asked} wait="Reading the weights of both…">
          {(data) => <Found data={data} />}
        </Answered>
      </div>
    </section>
  );
}

function Found({ data }: { data: SaeComparison }) {
  return (
    <>
      <div class="hists">
        {data.histogram && <Histogram data={data.histogram} />}
        <div class="notes">
          <Facts facts={data.facts.map(({ label, value }) => [label, value])} label="Comparison in numbers" />
          <Differences data={data} />
        </div>
      </div>
      <Matches matches={data.matches} data={data} />
    </>
  );
}

function Differences({ data }: { data: SaeComparison }) {
  if (data.differences.length === 0) return <p class="sm t2">Their settings are the same.</p>;
  return (
    <Table
      label="Differences"
      columns={["", data.first.name, data.second.name]}
      rows={data.differences.map(([label, first, second]) => ({
        key: label,
        cells: [<span class="t2">{label}</span>, <Breakable text={first} />, <Breakable text={second} />],
      }))}
    />
  );
}

function Matches({ matches, data }: { matches: readonly LatentMatch[]; data: SaeComparison }) {
  const bar = (cosine: number) => <i aria-hidden="true" style={{ width: `${Math.max(0, cosine) * 100}%` }} />;
  return (
    <div class="notes">
      <h3>{`Closest decoder directions, ${f.count(matches.length)} pairs`}</h3>
      <Table
        label="Decoder cosine matches"
        box="xs-scroll tall"
        focus
        columns={[
          ...[num(`Feature of ${data.first.name}`), num(`Feature of ${data.second.name}`)],
          ...[
            { head: "Cosine", class: "num nw" },
            { head: "", class: "bar-cell" },
          ],
        ]}
        rows={matches.map(({ a, b, cosine }) => ({
          key: `${a}-${b}`,
          cells: [a, b, cosine.toFixed(3), bar(cosine)],
        }))}
      />
    </div>
  );
}
