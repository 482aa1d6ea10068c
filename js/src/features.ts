/** The bundle of the widgets around features. */
import { renderViewer } from "./extraction-viewer";
import { bundleOf, type Views } from "./lib/entry";

export const VIEWS: Views = {
  extraction_viewer: renderViewer,
};

export default bundleOf(VIEWS);
