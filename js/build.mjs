// Bundles the page half of all widgets into saewidgets/widgets/static/. `--watch` rebuilds on change, `--demo` builds
// the stand-alone page js/demo/dist (a fake model, no notebook).
import { copyFileSync, mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const limit = 150_000; // bytes of each; the text of the bundle is part of every saved widget state

const common = {
  bundle: true,
  format: "esm",
  target: "es2022",
  // a call with the children as arguments is shorter than one with a property of that name
  tsconfigRaw: { compilerOptions: { jsx: "react", jsxFactory: "createElement", jsxFragmentFactory: "Fragment" } },
  inject: [join(here, "src/jsx.ts")],
  charset: "utf8", // a dash takes three bytes, and six as an escape
  legalComments: "none",
  logLevel: "warning",
};

const bundle = {
  ...common,
  // the text of a bundle travels with every widget, so each widget has only what it needs
  entryPoints: {
    saewidgets: join(here, "src/training-panel/panel.tsx"),
    library: join(here, "src/library.ts"),
    features: join(here, "src/extraction-viewer/viewer.tsx"),
    steering: join(here, "src/steering/widget.tsx"),
  },
  outdir: join(here, "../saewidgets/widgets/static"),
  minify: true,
};
const styles = { ...bundle, entryPoints: { saewidgets: join(here, "src/styles/index.css") } };
const demo = {
  ...common,
  entryPoints: { demo: join(here, "demo/demo.ts"), style: join(here, "src/styles/index.css") },
  outdir: join(here, "demo/dist"),
  sourcemap: "inline",
};

const jobs = process.argv.includes("--demo") ? [demo] : [bundle, styles];
if (process.argv.includes("--watch")) {
  for (const job of jobs) await (await esbuild.context({ ...job, logLevel: "info" })).watch();
} else {
  for (const job of jobs) await esbuild.build(job);
  if (jobs[0] === demo) {
    mkdirSync(demo.outdir, { recursive: true });
    copyFileSync(join(here, "demo/index.html"), join(demo.outdir, "index.html"));
  } else {
    const sizes = ["saewidgets.js", "library.js", "features.js", "steering.js", "saewidgets.css"].map((name) => ({
      name,
      size: statSync(join(bundle.outdir, name)).size,
    }));
    console.log(sizes.map(({ name, size }) => `${name} ${(size / 1000).toFixed(1)} kB`).join(", "));
    const large = sizes.filter(({ size }) => size > limit);
    for (const { name } of large) console.error(`${name} is larger than ${limit / 1000} kB.`);
    if (large.length) process.exit(1);
  }
}
