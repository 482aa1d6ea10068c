/** What JSX becomes calls of in the bundles (js/build.mjs). */
export { createElement, Fragment } from "preact";
