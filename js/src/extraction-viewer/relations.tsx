/** Tokens a feature peaks at; features like it, and features that fire with it. */
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { Histogram } from "../lib/histogram";
import { Failed, placed } from "../lib/notes";
import { num, Table } from "../lib/table";
import { LabelOrTokens, line, TokenChip } from "../lib/tokens";
import type { RelatedFeature, TokenCount } from "../lib/wire";
import type { FeatureView } from "./feature";
import type { Store } from "./store";
import { activation, percent, signed } from "./words";

const decimals = (text: string): number => text.split(".")[1]?.length ?? 0;

export function LogitFigure({ feature }: { feature: FeatureView }) {
  const { data, problem, busy } = feature.logits.value;
  const known = data?.problem ?? problem;
  if (data?.histogram) {
    return (
      <div aria-busy={busy}>
        <Histogram
          data={data.histogram}
          small
          help="What one unit of activation adds to the logit of each token of the vocabulary: the decoder direction times the unembedding, through the last norm's scale."
          shade={(from, to) => (from + to < 0 ? "neg" : "pos")}
          tick={(value, text) => (value > 0 ? `+${text}` : value < 0 ? signed(value, decimals(text)) : text)}
        />
        {data.problem && <p class="xs t2">{placed(data.problem)}</p>}
      </div>
    );
  }
  return (
    <div class={known ? "no-fig g4" : "no-fig g4 held"} aria-busy={busy}>
      <b class="sm">Logit effects</b>
      <NotKnown problem={known} wait={busy ? "Reading the unembedding…" : ""} onAgain={() => feature.askLogits()} />
    </div>
  );
}

interface NotKnownProps {
  problem: { what: string; where: string | null; hint: string | null } | null;
  wait: string;
  onAgain: () => void;
}

/** Why something is not there, which is no failure: the model may not be on this machine. */
export function NotKnown({ problem, wait, onAgain }: NotKnownProps) {
  if (!problem) {
    return (
      <p class="sm t2 waiting" role="status">
        {wait}
      </p>
    );
  }
  return <Failed tone="plain" problem={problem} onAgain={onAgain} />;
}

export function LogitTables({ feature }: { feature: FeatureView }) {
  const { data, problem } = feature.logits.value;
  // Until they are there their place is free, if those of the feature before were there.
  if (!data && !problem && feature.hasLogits) return <div class="lgt held" />;
  if (!data || (data.raises.length === 0 && data.lowers.length === 0)) return null;
  const most = Math.max(...[...data.raises, ...data.lowers].map(([, logit]) => Math.abs(logit)), 1e-12);
  const side = (title: string, rows: readonly [string, number][], sign: "pos" | "neg") => (
    <div>
      <h3>{title}</h3>
      <ol aria-label={title}>
        {rows.slice(0, 10).map(([token, logit], i) => (
          <li key={`${i} ${token}`}>
            <TokenChip text={token} />
            <span class="mb" aria-hidden="true">
              <i class={sign} style={{ width: `${(Math.abs(logit) / most) * 100}%` }} />
            </span>
            <span class="num">{signed(logit)}</span>
          </li>
        ))}
      </ol>
    </div>
  );
  return (
    <div class="lgt">
      {side("Raises the logit of", data.raises, "pos")}
      {side("Lowers the logit of", data.lowers, "neg")}
    </div>
  );
}

export function Relations({ store }: { store: Store }) {
  const { feature } = store;
  const { data, problem, busy } = feature.relations.value;
  const known = data?.problem ?? problem;
  const table = (name: string, value: string, rows: readonly RelatedFeature[], words: (value: number) => string) => (
    <Table
      label={name}
      class="related"
      columns={[num("#"), "Label", num(value)]}
      rows={rows.map((row) => ({
        key: row.index,
        cells: [
          <OpenFeature key="open" store={store} index={row.index} />,
          <LabelOrTokens key="label" label={line(row.label)} tokens={row.top_tokens} none="no label" />,
          words(row.value),
        ],
      }))}
    />
  );
  return (
    <div aria-busy={busy} class="relations">
      {(known || !data) && (
        <NotKnown
          problem={known}
          wait={busy ? "Looking for its neighbours…" : ""}
          onAgain={() => feature.askRelations()}
        />
      )}
      {data && (
        <div class="split">
          <div>
            <h3>Similar features</h3>
            {data.similar.length > 0 ? (
              table("Similar features", "Cosine", data.similar, (value) => value.toFixed(2))
            ) : (
              <p class="sm t2">No decoder direction is near.</p>
            )}
          </div>
          <div>
            <h3>Fires together with</h3>
            {data.coactive.length > 0
              ? table("Co-activating features", "Share", data.coactive, (value) => percent(value))
              : data.sampled > 0 && <p class="sm t2">Nothing else fires with it.</p>}
            {(data.note || data.sampled > 0) && (
              <p class="xs t2">{data.note || `of ${f.count(data.sampled)} sampled firings`}</p>
            )}
          </div>
        </div>
      )}
    </div>
  );
}

export function OpenFeature({ store, index }: { store: Store; index: number }) {
  return (
    <span data-preview={index}>
      <Button
        text={index}
        kind="link"
        label={`Open feature ${index}`}
        title={undefined}
        onClick={() => store.openFeature(index)}
      />
    </span>
  );
}

export function TokenTable({ rows }: { rows: readonly TokenCount[] }) {
  if (rows.length === 0) return null;
  return (
    <section aria-label="Token analysis">
      <h3>Token analysis</h3>
      <Table
        label="Tokens it peaks at"
        box="xs-scroll tall"
        focus={rows.length > 8}
        columns={["Token", num("Examples"), num("Share"), num("Mean")]}
        rows={rows.map(({ token, count, share, mean }, i) => ({
          key: `${i} ${token}`,
          cells: [<TokenChip key="token" text={token} />, f.count(count), percent(share), activation(mean)],
        }))}
      />
    </section>
  );
}
