/** Where the focus goes when what holds it is taken away, as selectors for `data-back` (`lib/keep-focus.ts`). */
const PLACES = {
  tab: '[role="tab"][aria-selected="true"]',
  repository: '.where input[type="text"]',
  token: '.where input[type="password"]',
  release: ".release select",
  search: ".srch input",
  device: '[aria-label="Load on"]',
  start: ".ft2 .b.p",
};

/** The first of these that is on the page. */
export const places = (...names: readonly (keyof typeof PLACES)[]): string =>
  names.map((name) => PLACES[name]).join(" | ");
