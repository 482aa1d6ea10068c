/** Public repositories with SAEs to start from. */

import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { Button } from "../lib/controls";
import { Facts, put, Search } from "../lib/kit";
import type { KnownRow } from "../lib/wire";
import type { Store } from "./store";
import { toPlace, useWayBack } from "./way-back";
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
          onInput={(text) => {
            store.knownSearch.value = text;
          }}
        />
      </div>
      {data && rows.length === 0 && (
        <div class="empty">
          <h3>No repository matches</h3>
          <p>{`None of the ${data.repositories.length} known repositories matches “${search.trim()}”.`}</p>
          <Button onClick={put(store.knownSearch, "")}>Clear filters</Button>
        </div>
      )}
      {rows.length > 0 && (
        <List>
          {rows.map((row) => (
            <Repository key={row.repo_id} store={store} row={row} />
          ))}
        </List>
      )}
    </>
  );
}

/** *Browse* leaves this tab: the focus goes to where the repository is named then. */
function List({ children }: { children: ComponentChildren }) {
  const list = useWayBack<HTMLUListElement>(toPlace("repository", "release", "tab"));
  return (
    <ul ref={list} class="lst known" aria-label="Known repositories">
      {children}
    </ul>
  );
}

function Repository({ store, row }: { store: Store; row: KnownRow }) {
  const widths = row.widths.length ? `widths ${row.widths.join(", ")}` : "";
  const layers = row.layers ? `layers ${row.layers}` : "";
  return (
    <li class="card nc" aria-label={row.repo_id}>
      <div class="c2 col">
        <div class="row">
          <span class="nm el" title={row.name || row.repo_id}>
            {row.name || row.repo_id}
          </span>
          {row.format && <span class="bg">{formatWords(row.format)}</span>}
          {row.gated_model && <span class="bg">gated model</span>}
        </div>
        <div class="meta">
          <span>
            <code>{row.repo_id}</code>
          </span>
          <span>{row.model}</span>
        </div>
        <Facts of={[row.sites.map(siteWords).join(", "), layers, widths].filter(Boolean)} />
      </div>
      <div class="c3 col">
        <div class="acts">
          <Button small onClick={() => void store.browseKnown(row)}>
            Browse
          </Button>
        </div>
      </div>
    </li>
  );
}

function matches(row: KnownRow, search: string): boolean {
  const text = [
    row.repo_id,
    row.name,
    row.model,
    formatWords(row.format),
    ...row.sites,
    ...row.sites.map(siteWords),
    ...row.widths,
  ]
    .join(" ")
    .toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
