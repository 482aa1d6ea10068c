/**
 * The download widget without a notebook: `npm run demo`, then serve js/demo/dist and open index.html?widget=download.
 * &case=empty|chosen|gated|memory|gemma|facets|known|nosae|notfound|failed|hostile|many & theme=light|dark
 */
import widget from "../src/index";
import { FakeHub, type HubOptions } from "./fake-hub";
import * as fixtures from "./hub-fixtures";

const query = new URLSearchParams(location.search);
if (query.get("theme") === "dark") document.body.classList.add("dark");
const name = query.get("case") ?? "chosen";

const problem = (kind: string, what: string, hint: string, suggestions: string[] = []) =>
  fixtures.listing({ rows: [], repositories: [], problems: [{ kind, what, hint, suggestions }] });

const options: HubOptions = {
  listings: {
    "openai-community/gpt2": problem(
      "no_sae",
      "No SAE found in openai-community/gpt2.",
      "It holds a language model (model.safetensors, 548 MB).",
      ["jbloom/GPT2-Small-SAEs-Reformatted", "jbloom/GPT2-Small-OAI-v5-32k-resid-post-SAEs"],
    ),
    "EleutherAI/sae-pythia-410-65k": problem(
      "repository_not_found",
      "Repository not found: EleutherAI/sae-pythia-410-65k.",
      "It does not exist, or is private and your token does not reach it.",
      [fixtures.PYTHIA],
    ),
    "slow/hub": "The hub did not answer within 10 s, three times in a row.",
    hostile: fixtures.listing({
      rows: [fixtures.row({ path: fixtures.HOSTILE, site: fixtures.HOSTILE, format: fixtures.HOSTILE })],
    }),
    many: fixtures.listing({
      rows: Array.from({ length: 14_000 }, (_, i) =>
        fixtures.row({ path: `layers.${i >> 6}/latents_${i % 64}`, layer: i >> 6, l0: (i * 7) % 200 }),
      ),
    }),
  },
  previews: (path, device) => {
    if (name === "gated") return { gated_model: true, warnings: [fixtures.GATED, fixtures.PICKLE] };
    if (name === "memory") return { warnings: device === "cpu" ? [fixtures.DISK] : [fixtures.MEMORY, fixtures.DISK] };
    if (name === "hostile") return { config: { [fixtures.HOSTILE]: fixtures.HOSTILE }, model: fixtures.HOSTILE };
    return path.startsWith("layer_") ? { warnings: [] } : {};
  },
};

const downloads = ["chosen", "downloads", "facets"].includes(name) ? fixtures.DOWNLOADS : [];
const start: Record<string, string> = {
  hostile: "hostile",
  many: "many",
  nosae: "openai-community/gpt2",
  notfound: "EleutherAI/sae-pythia-410-65k",
  failed: "slow/hub",
};
const repository =
  start[name] ?? (["empty", "gemma", "facets", "known"].includes(name) ? "" : `${fixtures.PYTHIA}@main`);

const el = document.createElement("div");
document.getElementById("main")?.append(el);
const hub = new FakeHub(fixtures.hubState({ downloads, repository, can_open: true }), options);
widget.render({ model: hub as never, el });
Object.assign(window, { hub });
