/** Where the rows of a long list lie in a box that scrolls. Only those in sight are drawn. */

export const ROW = 40; // px, as the style sheet has it
/** Browsers draw nothing beyond some height (Firefox: about 17 million pixels). A longer list is scrolled through faster. */
const TALLEST = 12_000_000;
const SPARE = 8; // rows drawn above and below those in sight

interface Window {
  height: number;
  /** The rows to draw: `first` … `last` − 1. */
  first: number;
  last: number;
  /** px from the top of the list to row `first`. */
  top: number;
  fitting: number;
}

const ends = (count: number, view: number) => {
  const whole = count * ROW;
  const height = Math.min(whole, TALLEST);
  return { whole, height, scroll: Math.max(0, height - view), span: Math.max(0, whole - view) };
};

/** What to draw of `count` rows in a box of `view` px that is scrolled down by `scrollTop`. */
export function windowOf(count: number, view: number, scrollTop: number): Window {
  const { height, scroll, span } = ends(count, view);
  const at = Math.min(Math.max(0, scrollTop), scroll);
  const offset = scroll > 0 ? (at / scroll) * span : 0; // px above the sight, were the list as high as it is long
  const fitting = Math.max(1, Math.floor(view / ROW));
  const first = Math.max(0, Math.floor(offset / ROW) - SPARE);
  const last = Math.min(count, Math.ceil((offset + view) / ROW) + SPARE);
  return { height, first, last, top: at + first * ROW - offset, fitting };
}

/** The `scrollTop` that brings `row` into sight with the least movement; null when it is there. */
export function scrollTo(row: number, count: number, view: number, scrollTop: number): number | null {
  const { scroll, span } = ends(count, view);
  if (scroll === 0) return null;
  const offset = (Math.min(Math.max(0, scrollTop), scroll) / scroll) * span;
  const low = row * ROW;
  let wanted = offset;
  if (low < offset) wanted = low;
  else if (low + ROW > offset + view) wanted = low + ROW - view;
  else return null;
  // far away: into the middle, so that what is around it can be seen
  if (Math.abs(wanted - offset) > view) wanted = low - view / 2 + ROW / 2;
  return (Math.min(Math.max(0, wanted), span) / span) * scroll;
}

export function rowAfter(key: string, row: number, count: number, fitting: number): number | null {
  const to = {
    ArrowDown: row + 1,
    ArrowUp: row - 1,
    PageDown: row + Math.max(1, fitting - 1),
    PageUp: row - Math.max(1, fitting - 1),
    Home: 0,
    End: count - 1,
  }[key];
  return to === undefined || count === 0 ? null : Math.min(count - 1, Math.max(0, to));
}
