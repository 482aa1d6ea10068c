/** The bundle of the training panel. */
import { bundleOf, type Views } from "./lib/entry";
import { renderCharts, renderFooter, renderPanel } from "./training-panel";

export const VIEWS: Views = {
  training_panel: renderPanel,
  chart_controls: renderCharts,
  training_footer: renderFooter,
};

export default bundleOf(VIEWS);
