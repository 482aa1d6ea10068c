/** The bundle of the widgets around the library: they stand in one box. */
import { renderDownload } from "./download/widget";
import { bundleOf } from "./lib/host";
import { renderBrowser } from "./sae-browser/browser";

export const VIEWS = { sae_browser: renderBrowser, download: renderDownload };
export default bundleOf(VIEWS);
