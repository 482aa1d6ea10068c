/**
 * All views together, for the tests and the stand-alone page. What notebooks get are the bundles `saewidgets.ts`,
 * `library.ts`, `features.ts` and `steering.ts`: the text of a bundle travels with every widget, so each widget has only
 * what it needs.
 */

import { VIEWS as FEATURES } from "./features";
import { bundleOf, type Views } from "./lib/entry";
import { VIEWS as LIBRARY } from "./library";
import { VIEWS as TRAINING } from "./saewidgets";
import { VIEWS as STEERING } from "./steering";

export const VIEWS: Views = { ...TRAINING, ...LIBRARY, ...FEATURES, ...STEERING };

export default bundleOf(VIEWS);
