/** The headings on the page that skip a level, as axe's rule `heading-order` has it. */
export function skipping(): string[] {
  const level = (heading: Element | undefined) => Number(heading?.tagName[1] ?? 1);
  const all = [...document.querySelectorAll("h2, h3, h4")];
  return all.filter((heading, i) => level(heading) > level(all[i - 1]) + 1).map(({ outerHTML }) => outerHTML);
}
