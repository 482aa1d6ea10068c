/** Tokens a feature peaks at; features like it, and features that fire with it. */
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { num, Table } from "../lib/table";
import { LabelOrTokens, TokenChip } from "../lib/token-chip";
import { line } from "../lib/tokens";
import type { RelatedFeature, TokenCount } from "../lib/wire";
import { NotKnown } from "./logits";
import type { Store } from "./store";
import { activation, percent } from "./words";

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
    <Button
      text={index}
      kind="link"
      label={`Open feature ${index}`}
      title={undefined}
      onClick={() => store.openFeature(index)}
    />
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
