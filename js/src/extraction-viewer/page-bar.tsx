/** From one feature to another, the star, and what else can be done with a feature. */
import { useEffect, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { Icon } from "../lib/icons";
import { Menu } from "../lib/menu";
import type { OpenExtraction } from "../lib/wire";
import { Copy } from "./copy";
import type { Store } from "./store";

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
      <Button small icon="left" label="Previous feature" onClick={() => void store.step("previous")} />
      <Button small icon="right" label="Next feature" onClick={() => void store.step("next")} />
      <Jump store={store} open={open} index={index} />
      <Button
        text="Random"
        small
        icon="shuffle"
        label="Random feature"
        title="Random feature (R)"
        onClick={() => void store.step("random")}
      />
      <div class="sp" />
      <button
        type="button"
        class={starred ? "b s on" : "b s"}
        aria-label="Star"
        aria-pressed={starred}
        title={starred ? "Take the star (S)" : "Star (S)"}
        onClick={() => void store.star(index, !starred)}
      >
        <Icon name={starred ? "starred" : "star"} />
        <span>Star</span>
      </button>
      <Button text="Steer" small disabled={open.d_sae === 0} onClick={() => void store.steer(index)} />
      <Copy store={store} icon="link" label="Copy link to this view" text={() => page?.link ?? ""} />
      <Button small icon="more" label={more} popup="menu" expanded={menu} onClick={() => setMenu(!menu)} />
      {menu && (
        <div class="in-bar">
          <Menu
            label={more}
            onClose={() => setMenu(false)}
            items={[
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

/** The number of the feature as a text box: Enter goes to another one. */
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
