/** The list with what stands above and below it: search, filter and order, and how long it is. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { Pick, Search } from "../lib/kit";
import type { OpenExtraction } from "../lib/wire";
import { Grid } from "./grid";
import type { Store } from "./store";
import { SHOWS, SORTS } from "./words";

const TYPING = 250; // ms after the last key of a search

export function List({ store, open }: { store: Store; open: OpenExtraction }) {
  const { matching, key } = store.list.known.value;
  return (
    <div class="fl col">
      <Bar store={store} />
      <Grid store={store} open={open} />
      <div class="ft">
        <span role="status">
          {key === ""
            ? "Reading the list…"
            : matching === open.d_sae
              ? f.plural(matching, "feature")
              : `${f.count(matching)} of ${f.plural(open.d_sae, "feature")}`}
        </span>
        <div class="sp" />
        <span class="hw t3">? shows the keys</span>
      </div>
    </div>
  );
}

function Bar({ store }: { store: Store }) {
  const { query } = store.view.value;
  const [typed, setTyped] = useState(query.search);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  // a search from elsewhere; what comes back of one's own may be older than what is typed now
  const own = useRef(query.search);
  useEffect(() => {
    if (query.search !== own.current) setTyped(query.search);
    own.current = query.search;
  }, [query.search]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const search = (text: string, wait: number) => {
    setTyped(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      own.current = text;
      store.setQuery({ search: text });
    }, wait);
  };
  const direction = query.descending ? "descending" : "ascending";
  return (
    <div class="fl-bar">
      <Search
        label="Search features"
        placeholder="Label or top token"
        value={typed}
        onInput={(text) => search(text, text === "" ? 0 : TYPING)}
        onEnter={() => search(typed, 0)}
      />
      <div class="row">
        <Pick
          label="Show"
          chosen={query.show !== "all"}
          value={query.show}
          options={SHOWS}
          onPick={(show) => store.setQuery({ show })}
        />
        <Pick
          label="Sort features"
          value={query.sort}
          options={SORTS}
          onPick={(sort) =>
            /* numbers are looked at from the largest on, names and indices from the first on */ store.setQuery({
              sort,
              descending: sort !== "index" && sort !== "label",
            })
          }
        />
        <Button
          small
          icon={query.descending ? "down" : "up"}
          label={`Sort direction: ${direction}`}
          onClick={() => store.setQuery({ descending: !query.descending })}
        />
      </div>
    </div>
  );
}
