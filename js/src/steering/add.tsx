/** Adding a feature: by its index, or by words of its label; of which SAE. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { NoteBox } from "../lib/controls";
import { Icon } from "../lib/icons";
import { Pick, Search as SearchBox } from "../lib/kit";
import { ItemNotes } from "../lib/notes";
import { asFailure, isAbort } from "../lib/rpc";
import { visible } from "../lib/tokens";
import type { SteeringHits } from "../lib/wire";
import type { Store } from "./store";

const TYPING = 200; // ms after the last key

export interface Search {
  text: string;
  set: (text: string) => void;
  hits: SteeringHits | null;
  problem: string | null;
}

/** What stands in the box, and what was found for it. */
export function useSearch(store: Store): Search {
  const [text, set] = useState("");
  const [hits, setHits] = useState<SteeringHits | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const { sae_id } = store.state.value;
  useEffect(() => {
    setProblem(null);
    if (!text.trim() || !sae_id) {
      setHits(null);
      return;
    }
    const stop = new AbortController();
    const timer = setTimeout(() => {
      store.rpc.send({ kind: "steering_find", sae_id, text }, { signal: stop.signal }).then(
        (answer) => setHits(answer.value),
        (error) => {
          if (!isAbort(error)) setProblem(asFailure(error).what);
        },
      );
    }, TYPING);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text, sae_id, store]);
  return { text, set, hits, problem };
}

export function AddBox({ store, search }: { store: Store; search: Search }) {
  const { saes, sae_id } = store.state.value;
  const input = useRef<HTMLInputElement>(null);
  const called = store.focusSearch.value && sae_id !== "";
  useLayoutEffect(() => {
    if (!called) return;
    store.focusSearch.value = false;
    input.current?.focus();
  }, [called, store]);
  return (
    <>
      {saes.length > 1 && (
        <Pick
          label="SAE"
          width={200}
          value={sae_id}
          options={saes.map(({ id, name }) => ({ value: id, label: visible(name) }))}
          onPick={(id) => store.choose(id)}
        />
      )}
      <SearchBox
        label="Add a feature"
        placeholder="Add: index or label"
        input={input}
        disabled={!sae_id}
        value={search.text}
        onInput={search.set}
        onEnter={() => addFirst(store, search)}
      />
    </>
  );
}

function addFirst(store: Store, search: Search): void {
  const { text, hits } = search;
  const plain = text.trim().replace(/[,_]/g, "");
  const first = hits?.text === text ? hits.hits[0] : undefined;
  if (/^\d+$/.test(plain)) void adding(store, search, Number(plain), first?.label ?? "");
  else if (first) void adding(store, search, first.index, first.label);
}

async function adding(store: Store, search: Search, index: number, label: string): Promise<void> {
  if (await store.add(index, label)) search.set("");
}

/** What was found, below the box. */
export function Hits({ store, search }: { store: Store; search: Search }) {
  const id = useUid("sw-hits");
  const { hits, text, problem } = search;
  const shown = hits !== null && text.trim() !== "";
  return (
    <>
      <ItemNotes store={store} id="add" />
      {problem && <NoteBox tone="err" title={problem} />}
      {shown && (
        <section class="hits box" aria-labelledby={id}>
          <span id={id} class="vh">
            Features found
          </span>
          {hits.hits.map((hit) => (
            <button
              key={hit.index}
              type="button"
              class="hit"
              aria-label={`Add feature ${hit.index}${hit.label ? `: ${visible(hit.label)}` : ""}`}
              onClick={() => void adding(store, search, hit.index, hit.label)}
            >
              <Icon name="plus" />
              <b>{hit.index}</b> <bdi class="el">{visible(hit.label) || <span class="t3">no label</span>}</bdi>
            </button>
          ))}
          {hits.note && <p class="sm t2">{hits.note}</p>}
        </section>
      )}
    </>
  );
}
