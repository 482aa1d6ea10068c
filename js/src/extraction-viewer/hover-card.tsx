/** The card of the token under the pointer or with the focus. */
import type { RefObject } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import * as f from "../lib/format";
import { TokenChip } from "../lib/token-chip";
import type { FeatureView, Pointed } from "./feature";

const GAP = 6; // px between a token and its card

interface HoverProps {
  feature: FeatureView;
  /** The box that the card lies in. */
  box: RefObject<HTMLElement | null>;
  /** Tokens of a context; 0 if unknown. */
  contextSize: number;
}

export function HoverCard({ feature, box, contextSize }: HoverProps) {
  const pointed = feature.pointed.value;
  const loss = feature.loss.words.value;
  const card = useRef<HTMLDivElement>(null);
  const id = useUid("sw-token");
  const [place, setPlace] = useState({ left: 0, top: 0 });

  useLayoutEffect(() => {
    const [around, own] = [box.current, card.current];
    if (!pointed || !around || !own) return;
    if (!pointed.element.isConnected) return feature.unpoint(true);
    const [token, frame] = [pointed.element.getBoundingClientRect(), around.getBoundingClientRect()];
    const left = Math.min(Math.max(0, token.left - frame.left), Math.max(0, frame.width - own.offsetWidth));
    const below = token.bottom - frame.top + GAP;
    const above = token.top - frame.top - GAP - own.offsetHeight;
    const sight = around.closest(".fp")?.getBoundingClientRect() ?? frame;
    const fits = token.bottom + GAP + own.offsetHeight <= Math.min(sight.bottom, window.innerHeight || sight.bottom);
    setPlace({ left, top: fits || above < 0 ? below : above });
    pointed.element.setAttribute("aria-describedby", id);
    return () => pointed.element.removeAttribute("aria-describedby");
  }, [pointed, box, feature, id, loss]);

  if (!pointed) return null;
  const { info } = pointed;
  const pinned = feature.pinned.value;
  return (
    <div
      ref={card}
      class={pinned ? "hov pinned" : "hov"}
      role="tooltip"
      id={id}
      style={{ left: `${place.left}px`, top: `${place.top}px` }}
    >
      <div class="row">
        <TokenChip text={info.text} most={500} />
        {Number.isNaN(info.value) ? (
          <span class="t2">activation not known here</span>
        ) : (
          <>
            <b>{info.value.toFixed(4)}</b>
            <span class="t2">activation</span>
          </>
        )}
      </div>
      <dl class="kv">
        <dt>Position</dt>
        <dd>{placeWords(info, contextSize)}</dd>
        {loss && (
          <>
            <dt>Loss effect</dt>
            <dd>{loss}</dd>
          </>
        )}
      </dl>
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
