/** A slider around zero: fine in the middle, coarse at the ends, with a place to rest at 0. */
import { useRef } from "preact/hooks";
import { placeOf, stepOf, valueAt } from "./words";

interface Props {
  label: string;
  spoken: string;
  value: number;
  /** Strengths go from −end to end; what was typed may lie beyond. */
  end: number;
  disabled?: boolean;
  id?: string;
  onInput: (value: number) => void;
}

/** In steps of an arrow key: 0.1, on a slider that ends below 1 a tenth of that. */
const STEPS: Record<string, number> = {
  ArrowRight: 1,
  ArrowUp: 1,
  ArrowLeft: -1,
  ArrowDown: -1,
  PageUp: 10,
  PageDown: -10,
};

/**
 * The native slider keeps the value, the name and the focus; it is drawn and dragged here, because a native one is even
 * from end to end.
 */
export function Slider({ label, spoken, value, end, disabled, id, onInput }: Props) {
  const root = useRef<HTMLSpanElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const place = placeOf(value, end);
  const at = 50 + 50 * place;
  const unit = stepOf(end);
  const round = (to: number): number => Number(to.toFixed(unit < 0.1 ? 2 : 1));

  const drag = (event: PointerEvent) => {
    const box = root.current?.getBoundingClientRect();
    if (!box || box.width <= 12) return;
    const next = valueAt((2 * (event.clientX - box.left - 6)) / (box.width - 12) - 1, end);
    if (next !== value) onInput(next);
  };

  return (
    <span class={`sld${disabled ? " off" : ""}`} ref={root}>
      <span class="trk" aria-hidden="true">
        <i class="mid" />
        <i class="fil" style={{ left: `${Math.min(50, at)}%`, width: `${Math.abs(at - 50)}%` }} />
        <i class="knb" style={{ left: `${at}%` }} />
      </span>
      <input
        ref={input}
        id={id}
        type="range"
        aria-label={label}
        aria-valuetext={spoken}
        aria-disabled={disabled ? "true" : undefined}
        min={-Math.max(end, Math.abs(value))}
        max={Math.max(end, Math.abs(value))}
        step="any"
        value={value}
        // what a script or an assistive tool sets; pointers and keys do not come this way
        onInput={(event) => !disabled && onInput(round(Number(event.currentTarget.value)))}
        onMouseDown={(event) => event.preventDefault()}
        onPointerDown={(event) => {
          if (disabled || event.button !== 0) return;
          input.current?.focus();
          input.current?.setPointerCapture?.(event.pointerId);
          drag(event);
        }}
        onPointerMove={(event) => {
          if (!disabled && event.buttons & 1 && input.current?.hasPointerCapture?.(event.pointerId)) drag(event);
        }}
        onDblClick={() => !disabled && onInput(0)}
        onKeyDown={(event) => {
          if (disabled || event.ctrlKey || event.metaKey || event.altKey) return;
          const step = STEPS[event.key];
          let next: number;
          if (step !== undefined) next = round(value + step * unit);
          else if (event.key === "0") next = 0;
          else if (event.key === "Home") next = -end;
          else if (event.key === "End") next = end;
          else return;
          event.preventDefault();
          onInput(next);
        }}
      />
    </span>
  );
}
