/** All views together, for the tests and the stand-alone page; a widget travels with its own bundle (js/build.mjs). */
import { VIEWS as FEATURES } from "./extraction-viewer/viewer";
import { bundleOf } from "./lib/host";
import { VIEWS as LIBRARY } from "./library";
import { VIEWS as STEERING } from "./steering/widget";
import { VIEWS as TRAINING } from "./training-panel/panel";

export default bundleOf({ ...TRAINING, ...LIBRARY, ...FEATURES, ...STEERING });
