/** Two SAEs side by side: which latents of one have a near twin in the other. */

import { useLayoutEffect, useRef } from "preact/hooks";
import { useAnswer } from "../lib/ask";
import { Breakable } from "../lib/breakable";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { Histogram } from "../lib/histogram";
import { put } from "../lib/kit";
import { Failed } from "../lib/notes";
import type { SaeComparison, SaeMatch, SelectedSae } from "../lib/wire";
import { Facts } from "./facts";
import type { Store } from "./store";

export function Compare({ store, pair }: { store: Store; pair: readonly [SelectedSae, SelectedSae] }) {
  const [first, second] = pair;
  const root = useRef<HTMLElement>(null);
  const command = { kind: "compare_saes", first: first.id, second: second.id } as const;
  const asked = useAnswer(store.rpc, command, `${first.id}\n${second.id}`);
  const { data, problem } = asked;
  useLayoutEffect(() => {
    root.current?.querySelector<HTMLElement>("button")?.focus();
  }, []);
  return (
    <section ref={root} class="compare" aria-label="Comparison">
      <div class="tb">
        <Button small icon="left" onClick={put(store.compared, null)}>
          Back to SAEs
        </Button>
        <span class="sm el" title={`${first.name} and ${second.name}`}>
          <b>{first.name}</b> <span class="t2">with</span> <b>{second.name}</b>
        </span>
        <div class="sp" />
        <Button small kind="quiet" icon="retry" onClick={put(store.compared, [second, first])}>
          Swap
        </Button>
      </div>
      <div class="bd stats" aria-busy={asked.busy}>
        {problem && <Failed problem={problem} onAgain={asked.again} />}
        {!data && !problem && (
          <p class="sm t2 measuring" role="status">
            Reading the weights of both…
          </p>
        )}
        {data && !problem && <Found data={data} />}
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
          <Facts facts={data.facts} label="Comparison in numbers" />
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
    <div class="xs-scroll">
      <table aria-label="Differences">
        <thead>
          <tr>
            <th />
            <th>{data.first.name}</th>
            <th>{data.second.name}</th>
          </tr>
        </thead>
        <tbody>
          {data.differences.map(([label, first, second]) => (
            <tr key={label}>
              <th scope="row">{label}</th>
              <td>
                <Breakable text={first} />
              </td>
              <td>
                <Breakable text={second} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Matches({ matches, data }: { matches: readonly SaeMatch[]; data: SaeComparison }) {
  return (
    <div class="notes">
      <h3>{`Closest decoder directions, ${f.count(matches.length)} pairs`}</h3>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable from the keyboard */}
      <div class="xs-scroll tall" tabIndex={0}>
        <table aria-label="Decoder cosine matches">
          <thead>
            <tr>
              <th class="num">{`Feature of ${data.first.name}`}</th>
              <th class="num">{`Feature of ${data.second.name}`}</th>
              <th class="num nw">Cosine</th>
              <td />
            </tr>
          </thead>
          <tbody>
            {matches.map((match) => (
              <tr key={`${match.first}-${match.second}`}>
                <td class="num">{match.first}</td>
                <td class="num">{match.second}</td>
                <td class="num">{match.cosine.toFixed(3)}</td>
                <td class="bar-cell" aria-hidden="true">
                  <i style={{ width: `${Math.max(0, match.cosine) * 100}%` }} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}
