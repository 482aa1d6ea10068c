/** The page of one feature. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Button, useHelp } from "../lib/controls";
import * as f from "../lib/format";
import { Histogram } from "../lib/histogram";
import { Menu } from "../lib/kit";
import { Failed, ItemNotes } from "../lib/notes";
import { usePlacement } from "../lib/placement";
import { Facts } from "../lib/table";
import { shadeStep, TokenChip } from "../lib/tokens";
import type { FeaturePage, OpenExtraction } from "../lib/wire";
import { Copy, Examples, Intervals, OwnText } from "./example-list";
import type { FeatureView, Loaded, Pointed } from "./feature";
import { LabelForm } from "./label-form";
import { LogitFigure, LogitTables, Relations, TokenTable } from "./relations";
import { PAGE, type Store } from "./store";
import { activation, percent } from "./words";

export function Page({ store, open }: { store: Store; open: OpenExtraction }) {
  const { feature } = store;
  const { index } = feature;
  const { data, problem, busy } = feature.loaded.value;
  if (store.view.value.feature === null || index === null) {
    const { known, problem } = store.list;
    const none = problem.value || known.value.matching === 0;
    return (
      <section class="fp" aria-label="Feature">
        <p class="sm t2">{none ? "No feature is chosen." : "Choose a feature in the list."}</p>
      </section>
    );
  }
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
        <div class="fp-cols">
          <Examples store={store} loaded={loaded} />
          <div class="fp-side">
            <div class="split figs">
              <Activations store={store} page={page} />
              <LogitFigure feature={feature} />
            </div>
            <LogitTables feature={feature} />
          </div>
          <div class="fp-rest">
            <OwnText store={store} max={page.list_max} />
            <Intervals store={store} loaded={loaded} />
            <TokenTable rows={page.tokens} />
          </div>
        </div>
      )}
      {page.facts.length > 0 && (
        <Facts
          facts={page.facts.map(({ label, value }) => [label, value])}
          label={`Facts about feature ${page.index}`}
        />
      )}
      {/* Last, for it comes late: nothing moves when it does. */}
      <Relations store={store} />
      <HoverCard feature={feature} contextSize={open.context_size} />
    </div>
  );
}

/** Apart, so that only it is drawn again while the pointer moves over tokens. */
function Activations({ store, page }: { store: Store; page: FeaturePage }) {
  const { marked, tested } = store.feature;
  const at = marked.value ?? (tested.value.data?.answer.max || null);
  if (!page.histogram) return <div />;
  return (
    <Histogram
      data={page.histogram}
      small
      logCounts
      help="How often it fires with which strength. Tokens on which it does not fire are left out. Counts are on a logarithmic axis; the colours are those of the examples."
      shade={(from, to) => `a${Math.max(1, shadeStep((from + to) / 2, page.list_max))}`}
      mark={at === null ? null : { at, text: activation(at) }}
    />
  );
}

function Figures({ page }: { page: FeaturePage }) {
  const tokens = f.tokens(page.n_tokens);
  const [button, help] = useHelp(
    "Density",
    `Share of tokens on which it fires: ${f.count(page.fired)} of ${f.count(page.n_tokens)}. Special tokens and tokens that were skipped do not count.`,
  );
  const rows: [string, string, string][] = [
    ["Density", percent(page.density), ""],
    ["Fired on", f.count(page.fired), `of ${tokens} tokens`],
    ["Max", activation(page.max), ""],
    ["Mean when active", page.fired > 0 ? activation(page.mean) : f.DASH, ""],
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
          <Button onClick={() => store.step("next_live")}>Next live feature</Button>
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

interface BarProps {
  store: Store;
  open: OpenExtraction;
  index: number;
}

export function PageBar({ store, open, index }: BarProps) {
  const [menu, setMenu] = useState(false);
  const page = store.feature.current?.page;
  const starred = store.isStarred(index, page?.notes.starred ?? false);
  useEffect(() => setMenu(false), [index]);
  const more = "More feature actions";
  const showExport = (what: "html" | "vectors") => {
    setMenu(false);
    store.panel.value = { kind: "export", what, one: true };
  };
  return (
    <div class="page-bar">
      <Button small icon="left" label="Previous feature" onClick={() => store.step("previous")} />
      <Button small icon="right" label="Next feature" onClick={() => store.step("next")} />
      <Jump store={store} open={open} index={index} />
      <Button
        text="Random"
        small
        icon="shuffle"
        label="Random feature"
        title="Random feature (R)"
        onClick={() => store.step("random")}
      />
      <div class="sp" />
      <Button
        text="Star"
        small
        icon={starred ? "starred" : "star"}
        class={starred ? "on" : ""}
        pressed={starred}
        title={starred ? "Take the star (S)" : "Star (S)"}
        onClick={() => store.star(index, !starred)}
      />
      <Button text="Steer" small disabled={open.d_sae === 0} onClick={() => store.steer(index)} />
      <Copy store={store} icon="link" label="Copy link to this view" text={() => linkTo(store)} />
      <Button small icon="more" label={more} popup="menu" expanded={menu} onClick={() => setMenu(!menu)} />
      {menu && (
        <div class="in-bar">
          <Menu
            label={more}
            onClose={() => setMenu(false)}
            items={[
              {
                label: "Label it with a model",
                run: () => {
                  setMenu(false);
                  store.labelling.typed.value = { ...store.labelling.typed.value, which: "one" };
                  store.panel.value = { kind: "label_model" };
                },
              },
              { label: "Export as a web page", run: () => showExport("html") },
              { label: "Export its decoder vector", run: () => showExport("vectors") },
              {
                label: "Show it in the list of all features",
                run: () => {
                  setMenu(false);
                  store.setQuery({ search: "", show: "all" });
                  store.openFeature(index, null);
                },
              },
            ]}
          />
        </div>
      )}
    </div>
  );
}

/** Code that shows a feature again, with the text that is tested. */
function linkTo({ feature: { current, text } }: Store): string {
  const test = text.value.trim() && `, "test": ${JSON.stringify(text.value)}`;
  return (current?.page.link ?? "").replace(/\}\)$/, () => `${test}})`);
}

function Jump({ store, open, index }: BarProps) {
  const id = useUid("sw-jump");
  const [typed, setTyped] = useState<string | null>(null);
  const [wrong, setWrong] = useState(false);
  useEffect(() => {
    setTyped(null);
    setWrong(false);
  }, [index]);
  const go = (text: string) => {
    const n = f.parseInteger(text);
    if (n === null || n < 0 || n >= open.d_sae) return setWrong(true);
    setTyped(null);
    setWrong(false);
    if (n !== index) store.openFeature(n);
  };
  return (
    <>
      <span class="s24" style={{ "--w": "76px" }}>
        <input
          aria-label="Feature index"
          inputMode="numeric"
          autocomplete="off"
          aria-invalid={wrong ? "true" : undefined}
          aria-describedby={wrong ? id : undefined}
          value={typed ?? String(index)}
          onInput={(event) => {
            setTyped(event.currentTarget.value);
            setWrong(false);
          }}
          onBlur={() => {
            if (!wrong) setTyped(null);
          }}
          onKeyDown={(event) => {
            if (event.key === "Enter") {
              event.preventDefault();
              go(event.currentTarget.value);
            } else if (event.key === "Escape" && typed !== null) {
              event.preventDefault();
              setTyped(null);
              setWrong(false);
            }
          }}
        />
      </span>
      <span class="sm t2 nw">{`of ${f.count(open.d_sae)}`}</span>
      {wrong && (
        <span class="sm bad" id={id} role="alert">
          {`Enter 0 to ${open.d_sae - 1}.`}
        </span>
      )}
    </>
  );
}

interface HoverProps {
  feature: FeatureView;
  /** Tokens of a context; 0 if unknown. */
  contextSize: number;
}

export function HoverCard({ feature, contextSize }: HoverProps) {
  const pointed = feature.pointed.value;
  const loss = feature.loss.words.value;
  const card = useRef<HTMLDivElement>(null);
  const id = useUid("sw-token");
  const style = usePlacement(card, pointed?.element ?? null, [pointed, loss]);

  useLayoutEffect(() => {
    if (!pointed) return;
    if (!pointed.element.isConnected) return feature.unpoint(true);
    pointed.element.setAttribute("aria-describedby", id);
    return () => pointed.element.removeAttribute("aria-describedby");
  }, [pointed, feature, id]);

  if (!pointed) return null;
  const { info } = pointed;
  const pinned = feature.pinned.value;
  return (
    <div ref={card} class={pinned ? "hov pinned" : "hov"} role="tooltip" id={id} style={style}>
      <div class="row">
        <TokenChip text={info.text} most={500} />
        {Number.isNaN(info.value) ? (
          <span class="t2">activation not known here</span>
        ) : (
          <>
            <b>{activation(info.value)}</b>
            <span class="t2">activation</span>
          </>
        )}
      </div>
      <Facts facts={[["Position", placeWords(info, contextSize)], ...(loss ? [["Loss effect", loss] as const] : [])]} />
      <div class="t2">{pinned ? "Pinned; leave with Esc" : "Pin with Enter, leave with Esc"}</div>
    </div>
  );
}

/** "118 of 256, context 157, doc 12". */
export function placeWords({ position, context, document }: Pointed["info"], contextSize: number): string {
  const size = context !== null && contextSize > 0 ? ` of ${f.count(contextSize)}` : "";
  return [
    `${f.count(position)}${size}`,
    ...(context === null ? [] : [`context ${context}`]),
    ...(document === null ? [] : [`doc ${document}`]),
  ].join(", ");
}
