/** Tokens a feature peaks at; features like it, and features that fire with it. */
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { placed } from "../lib/notes";
import { LabelOrTokens, TokenChip } from "../lib/token-chip";
import { line } from "../lib/tokens";
import type { RelatedFeature, TokenCount } from "../lib/wire";
import type { Store } from "./store";
import { activation, percent } from "./words";

export function Relations({ store }: { store: Store }) {
  const { data, problem, busy } = store.feature.relations.value;
  const known = data?.problem ?? problem;
  return (
    <div aria-busy={busy} class="relations">
      {known && (
        <NoteBox
          title={placed(known)}
          actions={
            <Button small onClick={() => store.feature.askRelations()}>
              Try again
            </Button>
          }
        >
          {known.hint}
        </NoteBox>
      )}
      {!data && !known && (
        <p class="sm t2 waiting" role="status">
          {busy ? "Looking for its neighbours…" : ""}
        </p>
      )}
      {data && (
        <div class="split">
          <Related
            store={store}
            title="Similar features"
            name="Similar features"
            value="Cosine"
            rows={data.similar}
            words={(value) => value.toFixed(2)}
            none="No decoder direction is near."
          />
          <Related
            store={store}
            title="Fires together with"
            name="Co-activating features"
            value="Share"
            rows={data.coactive}
            words={(value) => percent(value)}
            none={data.sampled === 0 ? "" : "Nothing else fires with it."}
            note={data.note || (data.sampled > 0 ? `of ${f.count(data.sampled)} sampled firings` : "")}
          />
        </div>
      )}
    </div>
  );
}

interface RelatedProps {
  store: Store;
  title: string;
  name: string;
  value: string;
  rows: readonly RelatedFeature[];
  words: (value: number) => string;
  none: string;
  note?: string;
}

function Related({ store, title, name, value, rows, words, none, note }: RelatedProps) {
  return (
    <div>
      <h3>{title}</h3>
      {rows.length === 0 ? (
        none && <p class="sm t2">{none}</p>
      ) : (
        <table class="related" aria-label={name}>
          <thead>
            <tr>
              <th class="num">#</th>
              <th>Label</th>
              <th class="num">{value}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.index}>
                <td class="num">
                  <OpenFeature store={store} index={row.index} />
                </td>
                <td class="words" title={row.label.length > 60 ? line(row.label) : undefined}>
                  <LabelOrTokens label={line(row.label)} tokens={row.top_tokens} none="no label" />
                </td>
                <td class="num">{words(row.value)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {note && <p class="xs t2">{note}</p>}
    </div>
  );
}

export function OpenFeature({ store, index }: { store: Store; index: number }) {
  return (
    <Button kind="link" label={`Open feature ${index}`} title={undefined} onClick={() => store.openFeature(index)}>
      {index}
    </Button>
  );
}

export function TokenTable({ rows }: { rows: readonly TokenCount[] }) {
  if (rows.length === 0) return null;
  return (
    <section class="token-table" aria-label="Token analysis">
      <h3>Token analysis</h3>
      <div class="xs-scroll tall" tabIndex={rows.length > 8 ? 0 : undefined}>
        <table aria-label="Tokens it peaks at">
          <thead>
            <tr>
              <th>Token</th>
              <th class="num">Examples</th>
              <th class="num">Share</th>
              <th class="num">Mean</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row, i) => (
              <tr key={`${i} ${row.token}`}>
                <td>
                  <TokenChip text={row.token} />
                </td>
                <td class="num">{f.count(row.count)}</td>
                <td class="num">{percent(row.share)}</td>
                <td class="num">{activation(row.mean)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
