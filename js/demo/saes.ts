/**
 * The SAE browser without a notebook: `npm run demo`, then serve js/demo/dist and open index.html?widget=saes.
 * &case=full|empty|many|busy|hostile|error & theme=light|dark
 */
import widget from "../src/index";
import { FakeLibrary, type LibraryOptions } from "./fake-library";
import { HOSTILE, SAES, sae } from "./sae-fixtures";

const query = new URLSearchParams(location.search);
if (query.get("theme") === "dark") document.body.classList.add("dark");
const name = query.get("case") ?? "full";

const many = Array.from({ length: 5000 }, (_, i) => sae({ name: `run-${String(i).padStart(4, "0")}`, layer: i % 12 }));
const hostile = [sae({ name: HOSTILE, model: HOSTILE, architecture: HOSTILE, tags: [HOSTILE], state_note: HOSTILE })];
const cards = { empty: [], many, hostile }[name] ?? SAES;
const options: LibraryOptions =
  name === "error"
    ? {
        failures: {
          delete_saes: {
            what: "pythia-70m-deduped-res-sm-l3 is in use: a job of kind extraction (running) reads it.",
            hint: "Cancel that first, or wait until it has ended.",
          },
          add_local: { what: "No SAE was found in /data/models.", hint: "Choose the folder that holds cfg.json." },
          measure_sae: { what: "The weights are damaged.", hint: "Download it again." },
        },
      }
    : { slow: Number(query.get("slow") ?? 5), late: name === "busy" };

const frame = document.createElement("div");
frame.className = "sw-frame";
document.getElementById("main")?.append(frame);
const el = document.createElement("div");
frame.append(el);
const model = new FakeLibrary(cards, options);
widget.render({ model: model as never, el });
Object.assign(window, { model });
