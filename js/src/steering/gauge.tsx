/** How large the change is beside the hidden state, and where text usually breaks. */
import { useHelp } from "../lib/help";
import type { Gauge as Value } from "../lib/wire";
import { gaugeAt, ratioText, zone } from "./words";

export function Gauge({ gauge }: { gauge: Value }) {
  const { ratio } = gauge;
  const [button, text] = useHelp(
    "Size of the change",
    "The length of what steering adds, Δ, over the length of the hidden state h it is added to: the mean over the tokens " +
      "that are steered, of all features together. While sliders move it is measured on the prompt; after Generate, on " +
      "all steered tokens.",
  );
  return (
    <div class="gg">
      <div class="row sm">
        <b>‖Δ‖ / ‖h‖</b>
        {button}
        <span>{ratioText(ratio)}</span>
        <div class="sp" />
        <span class="t2 xs">{ratio === null ? "not measured yet" : `mean over ${gauge.over || "steered tokens"}`}</span>
      </div>
      {/* biome-ignore lint/a11y/useSemanticElements: a native one has two colours and no words */}
      <div
        class="gb"
        role="meter"
        aria-label="Size of the change against the residual"
        aria-valuenow={ratio === null ? 0 : Math.min(2, Number(ratio.toFixed(2)))}
        aria-valuemin={0}
        aria-valuemax={2}
        aria-valuetext={ratio === null ? "not measured yet" : `${ratioText(ratio)}: ${zone(ratio)}`}
      >
        <div class="gauge">
          <i />
          <i />
          <i />
        </div>
        {ratio !== null && <i class="gmk" style={{ left: `${gaugeAt(ratio)}%` }} />}
      </div>
      <div class="xs t2 gl" aria-hidden="true">
        <span>0 moderate</span>
        <span>0.5 strong</span>
        <span>1 breaks text</span>
      </div>
      {text}
    </div>
  );
}
