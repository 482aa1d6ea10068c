/** The page of one feature. */
import { useLayoutEffect, useRef } from "preact/hooks";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { useHelp } from "../lib/help";
import { Failed, ItemNotes } from "../lib/notes";
import { Facts } from "../lib/table";
import type { FeaturePage, OpenExtraction } from "../lib/wire";
import { Examples } from "./example-list";
import type { Loaded } from "./feature";
import { HoverCard } from "./hover-card";
import { LabelForm } from "./label-form";
import { Activations, LogitFigure, LogitTables } from "./logits";
import { OwnText } from "./own-text";
import { PageBar } from "./page-bar";
import { Relations, TokenTable } from "./relations";
import { PAGE, type Store } from "./store";
import { activation, percent } from "./words";

export function Page({ store, open }: { store: Store; open: OpenExtraction }) {
  const { feature } = store;
  const { index } = feature;
  const { data, problem, busy } = feature.loaded.value;
  if (store.view.value.feature === null || index === null) return <NothingChosen store={store} />;
  const stale = feature.current === null;
  return (
    <section class="fp" aria-label={`Feature ${index}`} aria-busy={busy}>
      <PageBar store={store} open={open} index={index} />
      {(store.problems.value.has(PAGE) || store.late.value.has(PAGE)) && (
        <div class="notes">
          <ItemNotes store={store} id={PAGE} />
        </div>
      )}
      {problem && <Failed problem={problem} onAgain={() => feature.again()} />}
      {!data && !problem && (
        <p class="sm t2" role="status">
          {`Reading feature ${index}…`}
        </p>
      )}
      {/* What is there of another feature stays until the answer comes, so that nothing flickers; nobody can act on it. */}
      {data && !(stale && problem) && (
        <div class={stale ? "fp-body stale" : "fp-body"} inert={stale}>
          <Body store={store} open={open} loaded={data} />
        </div>
      )}
    </section>
  );
}

function NothingChosen({ store }: { store: Store }) {
  const { known, problem } = store.list;
  return (
    <section class="fp" aria-label="Feature">
      <p class="sm t2">
        {problem.value || known.value.matching === 0 ? "No feature is chosen." : "Choose a feature in the list."}
      </p>
    </section>
  );
}

function Body({ store, open, loaded }: { store: Store; open: OpenExtraction; loaded: Loaded }) {
  const { feature } = store;
  const { page } = loaded;
  const box = useRef<HTMLDivElement>(null);
  // The pointer and the focus are followed by handlers of the box, not of thousands of tokens.
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const stop = new AbortController();
    const { signal } = stop;
    const tokenOf = (event: Event) => (event.target as Element).closest<HTMLElement>("[data-t]");
    element.addEventListener("mouseover", (event) => feature.point(tokenOf(event)), { signal });
    element.addEventListener("mouseleave", () => feature.unpoint(), { signal });
    element.addEventListener("focusin", (event) => feature.point(tokenOf(event)), { signal });
    element.addEventListener("focusout", () => feature.unpoint(), { signal });
    return () => stop.abort();
  }, [feature]);
  const dead = page.fired === 0;
  return (
    <div ref={box} class="fp-in">
      <LabelForm store={store} page={page} />
      <Figures page={page} />
      {dead ? (
        <Dead store={store} page={page} />
      ) : (
        <>
          <div class="split figs">
            {page.histogram ? <Histogram store={store} page={page} /> : <div />}
            <LogitFigure feature={feature} />
          </div>
          <LogitTables feature={feature} />
          <Examples store={store} loaded={loaded} />
          <OwnText store={store} max={page.list_max} />
          <TokenTable rows={page.tokens} />
        </>
      )}
      <Relations store={store} />
      {page.facts.length > 0 && (
        <Facts
          facts={page.facts.map(({ label, value }) => [label, value])}
          label={`Facts about feature ${page.index}`}
        />
      )}
      <HoverCard feature={feature} box={box} contextSize={open.context_size} />
    </div>
  );
}

/** Apart, so that only it is drawn again while the pointer moves over tokens. */
function Histogram({ store, page }: { store: Store; page: FeaturePage }) {
  const { marked, tested } = store.feature;
  const max = tested.value.data?.answer.max ?? 0;
  const mark = marked.value ?? (max > 0 ? max : null);
  return page.histogram && <Activations data={page.histogram} max={page.list_max} mark={mark} />;
}

function Figures({ page }: { page: FeaturePage }) {
  const tokens = f.tokens(page.n_tokens);
  const [button, help] = useHelp(
    "Density",
    `Share of tokens on which it fires: ${f.count(page.fired)} of ${f.count(page.n_tokens)}. Special tokens and tokens that were skipped do not count.`,
  );
  const rows: [string, string, string][] = [
    ["Density", percent(page.density, 3), ""],
    ["Fired on", f.count(page.fired), `of ${tokens} tokens`],
    ["Max", activation(page.max, 2), ""],
    ["Mean when active", page.fired > 0 ? activation(page.mean, 2) : f.DASH, ""],
    ["In documents", f.count(page.n_documents), `of ${f.count(page.documents)}`],
  ];
  return (
    <div>
      <dl class="statg">
        {rows.map(([name, value, of]) => (
          <div key={name}>
            <dt>
              {name}
              {name === "Density" && button}
            </dt>
            <dd>
              {value}
              {of && <small>{` ${of}`}</small>}
            </dd>
          </div>
        ))}
      </dl>
      {help}
    </div>
  );
}

function Dead({ store, page }: { store: Store; page: FeaturePage }) {
  const { feature } = store;
  const { data, problem, busy } = feature.logits.value;
  return (
    <>
      <div class="empty">
        <h3>{`Feature ${page.index} did not fire`}</h3>
        <p>{`Not once in ${f.count(page.n_tokens)} tokens. Its decoder direction can still be read.`}</p>
        <div class="row w">
          {!data && (
            <Button
              text={busy ? "Reading…" : "Show logit effects"}
              disabled={busy}
              onClick={() => feature.askLogits()}
            />
          )}
          <Button onClick={() => void store.step("next_live")}>Next live feature</Button>
        </div>
      </div>
      {(data || problem) && (
        <>
          <LogitFigure feature={feature} />
          <LogitTables feature={feature} />
        </>
      )}
    </>
  );
}
