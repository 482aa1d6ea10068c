/** The icons, drawn on a 16 × 16 grid. Always beside a word or on a control with a name, hence hidden from readers. */
const STAR = "m8 1.9 1.9 3.9 4.3.6-3.1 3 .7 4.3L8 11.7l-3.8 2 .7-4.3-3.1-3 4.3-.6z";
const PATHS = {
  play: "M4.5 2.8v10.4l8.6-5.2z",
  pause: "M5.2 3v10M10.8 3v10",
  stop: "M4.4 3.4h7.2q1 0 1 1v7.2q0 1-1 1H4.4q-1 0-1-1V4.4q0-1 1-1z",
  check: "M14.2 8A6.2 6.2 0 1 1 1.8 8a6.2 6.2 0 0 1 12.4 0m-9 .3 2 2 3.7-4.3",
  fail: "M5.4 1.8h5.2l3.6 3.6v5.2l-3.6 3.6H5.4l-3.6-3.6V5.4zM8 4.8v3.8M8 11v.2",
  clock: "M14.2 8A6.2 6.2 0 1 1 1.8 8a6.2 6.2 0 0 1 12.4 0M8 4.6V8l2.3 1.6",
  interrupted: "M1.6 8h3.2l1.4-3M14.4 8h-3.2l-1.4 3M9.2 2.4 6.8 13.6",
  plus: "M8 3v10M3 8h10",
  wide: "M1.8 8h12.4M5 4.8 1.8 8 5 11.2M11 4.8 14.2 8 11 11.2",
  close: "m4 4 8 8M12 4l-8 8",
  search: "M11.4 7a4.4 4.4 0 1 1-8.8 0 4.4 4.4 0 0 1 8.8 0m-1 3.4 3.4 3.4",
  right: "m6 3 5 5-5 5",
  left: "m10 3-5 5 5 5",
  up: "m3 10 5-5 5 5",
  down: "m3 6 5 5 5-5",
  folder: "M1.8 12.8V3.4h4l1.4 1.8h7v7.6z",
  more: "M3 8h.01M8 8h.01M13 8h.01",
  download: "M8 2v8m-3.4-3L8 10.4 11.4 7M2.6 13.6h10.8",
  trash: "M2.6 4.2h10.8M6 4V2.4h4V4M4 4.4l.7 9.2h6.6l.7-9.2",
  copy: "M6.4 5.4h6c.6 0 1 .4 1 1v6.2c0 .6-.4 1-1 1h-6c-.6 0-1-.4-1-1V6.4c0-.6.4-1 1-1M10.6 3v-.6H3.2c-.4 0-.8.4-.8.8v7.4h.8",
  warn: "M8 2.2 14.6 13.4H1.4zM8 6.4v3.2M8 11.5v.1",
  info: "M14.2 8A6.2 6.2 0 1 1 1.8 8a6.2 6.2 0 0 1 12.4 0M8 7.4v3.6M8 5v.1",
  star: STAR,
  starred: STAR,
  shuffle: "M1.8 4.4h2.4l6 7.2h4M1.8 11.6h2.4l1.6-2M8.4 6.4l1.8-2h4m-2-2 2 2-2 2m0 3.2 2 2-2 2",
  link: "M6.8 3H3v10h10V9.2M9.2 2.6h4.2v4.2M13 3 7.4 8.6",
  retry: "M13.4 8a5.4 5.4 0 1 1-1.7-3.9M13.6 1.8v3.4h-3.4",
};
const FILLED = ["play", "stop", "starred"];
const BOLD = ["pause", "more"];

export type IconName = keyof typeof PATHS;

export const Icon = ({ name }: { name: IconName }) => (
  <svg class="i" viewBox="0 0 16 16" aria-hidden="true">
    <path
      d={PATHS[name]}
      class={FILLED.includes(name) ? "fill" : undefined}
      stroke-width={BOLD.includes(name) ? 2.4 : undefined}
    />
  </svg>
);

/** Dash of a run's line in the charts; colour and marker go with it. */
const DASHES = ["", "6 3", "2 2", "8 2 2 2", "", "6 3"];

/** The short piece of line that says which curve is this run's. */
export const SeriesKey = ({ series }: { series: number }) => (
  <svg class="key" style={{ "--c": `var(--sw-s${(series % 6) + 1})` }} viewBox="0 0 18 8" aria-hidden="true">
    <path d="M0 4H18" stroke="currentColor" stroke-width="2" stroke-dasharray={DASHES[series % 6]} />
  </svg>
);

/** A piece of the upright line in the charts, where a run goes on from another one. */
export const JointKey = () => (
  <svg class="key" viewBox="0 0 18 12" aria-hidden="true">
    <path d="M9 0V12" stroke="currentColor" stroke-dasharray="2 2" />
  </svg>
);
