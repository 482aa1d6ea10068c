/** The bundle of the widgets around the library: they stand in one box. */
import { renderDownload } from "./download";
import { bundleOf } from "./lib/host";
import { renderBrowser } from "./sae-browser";

export const VIEWS = { sae_browser: renderBrowser, download: renderDownload };
export default bundleOf(VIEWS);
