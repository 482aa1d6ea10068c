/** What a feature fires on, in a card beside its number or label, for as long as somebody points there or pins it. */
import { signal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { Latest } from "../lib/ask";
import { Button } from "../lib/controls";
import { placed } from "../lib/notes";
import { usePlacement } from "../lib/placement";
import { LabelOrTokens, line } from "../lib/tokens";
import { Concordance } from "./example-list";
import { type Loaded, rangeOf } from "./feature";
import { activation, percent } from "./words";

const REST = 350; // ms on a feature before it is shown: a pointer passes many
const AWAY = 250; // ms in which the pointer may get from there into the card

export class Preview {
  /** What the card is about: an element with `data-preview`, which says which feature it is. */
  readonly at = signal<HTMLElement | null>(null);
  readonly pinned = signal(false);
  readonly loaded = new Latest<Loaded>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    host: Element,
    signal: AbortSignal,
    private readonly read: (of: string, signal: AbortSignal) => Promise<Loaded>,
  ) {
    for (const type of ["mouseover", "focusin"])
      host.addEventListener(type, (event) => this.point(event.target as Element), { signal });
    for (const type of ["mouseleave", "focusout"]) host.addEventListener(type, () => this.point(null), { signal });
    signal.addEventListener("abort", () => this.show(null));
  }

  private point(target: Element | null): void {
    clearTimeout(this.timer);
    if (this.pinned.value || target?.closest(".preview")) return;
    const at = target?.closest<HTMLElement>("[data-preview]") ?? null;
    if (at?.dataset.preview === this.at.value?.dataset.preview) return;
    this.timer = setTimeout(() => this.show(at), at ? REST : AWAY);
  }

  show(at: HTMLElement | null, pinned = false): void {
    clearTimeout(this.timer);
    const of = at?.dataset.preview;
    this.pinned.value = pinned && of !== undefined;
    if (at !== this.at.value) this.loaded.forget();
    this.at.value = of === undefined ? null : at;
    if (of !== undefined) void this.loaded.ask((signal) => this.read(of, signal));
  }

  /** Whether there was one to close. */
  close(): boolean {
    const open = this.at.value !== null;
    this.show(null);
    return open;
  }
}

/** `aside`: to the right of what it is about, so that the rows below stay in sight. */
export function PreviewCard({ preview, aside = false }: { preview: Preview; aside?: boolean }) {
  const card = useRef<HTMLElement>(null);
  const at = preview.at.value;
  const pinned = preview.pinned.value;
  const { data, problem } = preview.loaded.value;
  const style = usePlacement(card, at, [data, problem], aside);
  useLayoutEffect(() => {
    if (at && !at.isConnected && !pinned) preview.show(null);
  });
  if (!at) return null;
  const page = data?.page;
  const examples = data?.groups.flatMap((group) => group.examples).slice(0, 5) ?? [];
  return (
    <section ref={card} class={pinned ? "hov preview pinned" : "hov preview"} aria-label="Preview" style={style}>
      <div class="row">
        {page && <b>{page.index}</b>}
        <span class="el sm">
          {page && <LabelOrTokens tokens={page.row.top_tokens} label={line(page.row.label)} none="no label" />}
        </span>
        <div class="sp" />
        <Button
          text={pinned ? "Close" : "Pin"}
          small
          kind="quiet"
          label={pinned ? "Close preview" : "Pin preview"}
          onClick={() => preview.show(pinned ? null : at, true)}
        />
      </div>
      <p class="t2" role="status">
        {page ? `fires on ${percent(page.density)} of tokens, max ${activation(page.max)}` : problem ? "" : "Reading…"}
        {problem && [placed(problem), problem.hint].filter(Boolean).join(" ")}
      </p>
      {page &&
        examples.map(({ key, passage }) => (
          <Concordance
            key={key}
            passage={passage}
            {...rangeOf(passage, "snippet")}
            max={page.list_max}
            breaks={false}
          />
        ))}
    </section>
  );
}
