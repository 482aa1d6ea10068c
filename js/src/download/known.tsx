/** Public repositories with SAEs to start from. */
import { useEffect } from "preact/hooks";
import { Button } from "../lib/controls";
import { Card, Facts, into, NothingMatches, put, Search } from "../lib/kit";
import type { KnownRepo } from "../lib/wire";
import { places } from "./places";
import type { Store } from "./store";
import { formatWords, siteWords } from "./words";

export function Known({ store }: { store: Store }) {
  const data = store.known.value;
  useEffect(() => void store.loadKnown(), [store]); // again, where there was no kernel to ask at first
  const search = store.knownSearch.value;
  const rows = (data?.repositories ?? []).filter((row) => matches(row, search));
  return (
    <>
      <div class="tb">
        <span class="sm t2">{data ? "Public repositories whose format is known here" : "Asking the kernel…"}</span>
        <div class="sp" />
        <Search
          label="Search known repositories"
          placeholder="Name, model, site"
          value={search}
          onInput={into(store.knownSearch)}
        />
      </div>
      {data && rows.length === 0 && (
        <NothingMatches noun="repository" onClear={put(store.knownSearch, "")}>
          {`None of the ${data.repositories.length} known repositories matches “${search.trim()}”.`}
        </NothingMatches>
      )}
      {rows.length > 0 && (
        <ul class="lst known" aria-label="Known repositories" data-back={places("repository", "release", "tab")}>
          {rows.map((row) => (
            <Repository key={row.repo_id} store={store} row={row} />
          ))}
        </ul>
      )}
    </>
  );
}

function Repository({ store, row }: { store: Store; row: KnownRepo }) {
  const widths = row.widths.length ? `widths ${row.widths.join(", ")}` : "";
  const layers = row.layers ? `layers ${row.layers}` : "";
  return (
    <Card
      of={{ name: row.repo_id }}
      shownName={row.name || row.repo_id}
      badges={
        <>
          {row.format && <span class="bg">{formatWords(row.format)}</span>}
          {row.gated_model && <span class="bg">gated model</span>}
        </>
      }
      buttons={<Button text="Browse" small onClick={() => void store.browseKnown(row)} />}
    >
      <Facts of={[<code key="id">{row.repo_id}</code>, row.model]} />
      <Facts of={[row.sites.map(siteWords).join(", "), layers, widths]} />
    </Card>
  );
}

function matches({ repo_id, name, model, format, sites, widths }: KnownRepo, search: string): boolean {
  const parts = [repo_id, name, model, formatWords(format), ...sites, ...sites.map(siteWords), ...widths];
  const text = parts.join(" ").toLowerCase();
  const words = search.toLowerCase().split(/\s+/);
  return words.every((word) => text.includes(word));
}
