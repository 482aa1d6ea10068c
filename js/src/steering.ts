/** The bundle of the steering widget. */
import { bundleOf, type Views } from "./lib/entry";
import { renderSteering } from "./steering/index";

export const VIEWS: Views = {
  steering: renderSteering,
};

export default bundleOf(VIEWS);
