/** Gemma Scope: which SAE, by site, layer, width and L0. */
import { useEffect } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Button, Cut, Segments } from "../lib/controls";
import * as f from "../lib/format";
import { Empty, Pick, put } from "../lib/kit";
import type { VariantRow } from "../lib/wire";
import { type Choices, choose, chosen, FACETS, type Facet, matching, type Option, optionsOf } from "./facets";
import { MOST, toFetch } from "./listing";
import { DownloadBar, PreviewPane } from "./preview";
import { FailedNote, Looking, Problems } from "./problems";
import type { Store } from "./store";

export function GemmaScope({ store }: { store: Store }) {
  const { gemma } = store;
  const releases = store.known.value?.releases ?? [];
  const again = () => store.showRelease(store.release.value, true);

  useEffect(() => void store.loadKnown(), [store]); // again, where there was no kernel to ask at first

  // The first release is shown at once: an empty page would only ask for a press.
  useEffect(() => {
    const first = releases[0];
    if (first && gemma.idle && store.release.value === "") void store.showRelease(first.id);
  }, [releases, store, gemma]);

  const rows = gemma.rows.value;
  const total = gemma.found.value.data?.total ?? rows.length;
  const choices = store.choices.value;
  const matches = matching(rows, choices);
  useEffect(() => {
    gemma.show(matches.length === 1 ? (matches[0] ?? null) : null);
  }, [rows, choices]);

  if (store.known.value?.releases.length === 0) {
    return <Empty title="No Gemma Scope release is known">Look into a repository by its name instead.</Empty>;
  }
  if (!store.known.value) {
    return store.isLooking("known") ? (
      <p class="looking line sm t2" role="status">
        Loading releases…
      </p>
    ) : null;
  }
  return (
    <>
      <div class="tb">
        <span class="sm t2 hw" aria-hidden="true">
          Release
        </span>
        <Pick
          label="Release"
          class="release"
          width={230}
          value={store.release.value}
          options={releases.map(({ id, label }) => ({ value: id, label }))}
          onPick={(id) => store.showRelease(id)}
        />
        <div class="sp" />
        {rows.length > 0 && (
          <span class="sm" role="status">
            <b>{f.count(total)}</b>{" "}
            <span class="t2">{`SAE${total === 1 ? "" : "s"}; ${f.count(matches.length)} match`}</span>
          </span>
        )}
        <Button text="Clear" small kind="quiet" disabled={choices.length === 0} onClick={put(store.choices, [])} />
      </div>
      <Looking finding={gemma} />
      <FailedNote failed={gemma.found.value.problem} again={again} onDismiss={() => gemma.clear()} />
      <Problems store={store} finding={gemma} again={again} />
      {rows.length > 0 && (
        <>
          <div class="fac">
            {FACETS.map((facet) => (
              <FacetBox
                key={facet}
                facet={facet}
                options={optionsOf(rows, facet, choices)}
                choices={choices}
                onPick={(value) => {
                  store.choices.value = choose(rows, choices, facet, value);
                }}
              />
            ))}
          </div>
          <PreviewPane store={store} finding={gemma} rows={matches} />
          <DownloadBar
            store={store}
            finding={gemma}
            rows={choices.length === 0 ? [] : matches.length > MOST ? [] : matches}
            words={barWords(store, matches)}
          />
        </>
      )}
    </>
  );
}

function barWords(store: Store, matches: readonly VariantRow[]): string {
  const first = matches[0];
  if (matches.length === 1 && first) return store.gemma.repository(first)?.repo_id ?? "";
  if (store.choices.value.length === 0) return "Choose a site, a layer, a width and an L0";
  if (matches.length > MOST) return `${f.plural(matches.length, "SAE")} match: narrow them down to ${MOST} or fewer`;
  const cached = matches.filter((row) => row.cached).length;
  return `${f.plural(matches.length, "SAE")}, ${f.bytes(toFetch(matches))} to fetch${cached ? `, ${cached} cached` : ""}`;
}

const TITLES: Record<Facet, string> = { site: "Site", layer: "Layer", width: "Width", l0: "L0" };

interface FacetProps {
  facet: Facet;
  options: Option[];
  choices: Choices;
  onPick: (value: string | null) => void;
}

const REMARKS: Record<Facet, string> = { site: "", layer: "SAEs per layer", width: "by name", l0: "" };

function FacetBox({ facet, options, choices, onPick }: FacetProps) {
  const value = chosen(choices, facet);
  // Before a layer is chosen there are hundreds of them, none of which says much.
  const many = facet === "l0" && options.length > 40;
  const Choice = facet === "layer" ? Layers : Radios;
  return (
    <div>
      <h3>
        <span>{TITLES[facet]}</span>
        {value === null ? (
          <span class="t3">{REMARKS[facet]}</span>
        ) : (
          // without a choice the focus goes to what there is to choose from
          <span data-back={`[role="radiogroup"][aria-label="${TITLES[facet]}"] :is(input, [tabindex="0"])`}>
            <Button text="any" kind="link" label={`Any ${TITLES[facet]}`} onClick={() => onPick(null)} />
          </span>
        )}
      </h3>
      {many ? (
        <p class="sm t3">{`${f.count(options.length)} values: choose a layer and a width first`}</p>
      ) : (
        <Choice facet={facet} options={options} value={value} onPick={onPick} />
      )}
      {options.length === 0 && <p class="sm t3">–</p>}
    </div>
  );
}

interface RadiosProps {
  facet: Facet;
  options: Option[];
  value: string | null;
  onPick: (value: string) => void;
}

function Radios({ facet, options, value, onPick }: RadiosProps) {
  const group = useUid(`sw-${facet}`);
  return (
    <div class="opts" role="radiogroup" aria-label={TITLES[facet]}>
      {options.map((option) => (
        <label key={option.value} class="opt">
          <input type="radio" name={group} checked={option.value === value} onChange={() => onPick(option.value)} />
          <Cut text={option.label} />
          <span class="n">
            {facet !== "l0" || option.count > 1 ? f.count(option.count) : option.canonical ? "canonical" : ""}
          </span>
        </label>
      ))}
    </div>
  );
}

function Layers({ options, value, onPick }: RadiosProps) {
  const counts = new Map(options.map((option) => [option.value, option.count]));
  return (
    <Segments
      label="Layer"
      class="lay"
      options={options}
      selected={value}
      onSelect={(to) => to !== value && onPick(to)}
      nameOf={(layer) => `Layer ${layer}, ${f.plural(counts.get(layer) ?? 0, "SAE")}`}
      below={(layer) => <small>{f.count(counts.get(layer) ?? 0)}</small>}
    />
  );
}
