"""Does the real `sae-dashboard` package open what we export of features?

Two steps, since the two packages live in environments of their own:

    .venv/bin/python tools/check_export_sae_dashboard.py export FOLDER            # here: an extraction and its exports
    .venvs/sae_dashboard/bin/python tools/check_export_sae_dashboard.py check FOLDER

The model, text and SAE are those of tests/golden/sae_dashboard. `check` loads the JSON as `SaeVisData`, draws its page,
builds Neuronpedia's batch from our file, and ends with an error if anything is refused or comes back otherwise.
"""

import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "sae_dashboard"
HOOK = "blocks.1.hook_resid_post"


def export(folder: Path) -> None:
    """Write ``batches/batch-0.json`` and ``data.json``."""
    sys.path.insert(0, str(ROOT))
    import numpy as np

    from saewidgets.activations import open_corpus, pack
    from saewidgets.config import ExtractionConfig, TextCorpus
    from saewidgets.features.export import computed_effects, export_dashboard, export_neuronpedia_batches
    from saewidgets.features.extraction import extract
    from saewidgets.features.store.read import FeatureStore
    from saewidgets.formats import load_sae
    from saewidgets.lm import TokenText, load_model
    from saewidgets.lm.unembedding import unembedding

    lm, sae = load_model(str(GOLDEN / "model")), load_sae(GOLDEN / "jumprelu")
    corpus = open_corpus(TextCorpus(strings=json.loads((GOLDEN / "texts.json").read_text())))
    with tempfile.TemporaryDirectory() as place:
        packed = pack(corpus, lm.tokenizer, folder=Path(place) / "tokens", context_size=32)
        config = ExtractionConfig(max_norm_ratio=None)
        extract(sae, lm, packed, np.arange(packed.n_contexts), HOOK, config, Path(place) / "extraction")
        store = FeatureStore(Path(place) / "extraction", Path(place) / "tokens")
        effects = computed_effects(sae, unembedding(lm.model), TokenText(lm.tokenizer))
        export_dashboard(store, None, folder / "data.json", logits=effects, sae=sae)
        export_neuronpedia_batches(
            store, None, folder / "batches", model_id="tiny", sae_set="res", logits=effects, sae=sae, dataset="tiny"
        )


def check(folder: Path) -> None:
    """Open both."""
    sys.path.insert(0, str(ROOT / "tools"))
    import golden_sae_dashboard as golden
    import sae_lens.saes as lens
    from sae_dashboard.data_writing_fns import save_feature_centric_vis
    from sae_dashboard.neuronpedia.neuronpedia_dashboard import NeuronpediaDashboardBatch
    from sae_dashboard.sae_vis_data import SaeVisConfig, SaeVisData

    written = json.loads((folder / "batches" / "batch-0.json").read_text())
    read = NeuronpediaDashboardBatch(**written).to_dict()
    for feature in read["features"]:
        feature["activations"] = [dict(activation) for activation in feature["activations"]]
    assert read == written, "the batch comes back otherwise"

    tokenizer = golden.tokenizer_of(golden.sentences())
    model = golden.hooked(golden.gpt2(len(tokenizer)), tokenizer, processed=True)
    config = SaeVisConfig(hook_point=HOOK, features=[0], feature_centric_layout=golden.layout((5, 5)))
    sae = lens.SAE.load_from_disk(GOLDEN / "jumprelu", device="cpu")
    data = SaeVisData.load_json(folder / "data.json", config, model, sae)
    ours = json.loads((folder / "data.json").read_text())["feature_data_dict"]
    for index, feature in data.feature_data_dict.items():
        groups = ours[str(index)]["sequence_data"]["seq_group_data"]
        assert [g.title for g in feature.sequence_data.seq_group_data] == [g["title"] for g in groups]
        assert feature.logits_table_data.top_token_ids == ours[str(index)]["logits_table_data"]["top_token_ids"]
    alive = {i: f for i, f in data.feature_data_dict.items() if f.acts_histogram_data.bar_heights}
    data.feature_data_dict = alive  # it cannot draw a dead feature, its own neither
    save_feature_centric_vis(data, folder / "page.html")
    size = (folder / "page.html").stat().st_size
    print(f"opened: {len(read['features'])} features of the batch, {len(ours)} of the JSON; a page of {size:,} bytes")


def main() -> None:
    steps = {"export": export, "check": check}
    if len(sys.argv) != 3 or sys.argv[1] not in steps:
        sys.exit(__doc__)
    steps[sys.argv[1]](Path(sys.argv[2]))


if __name__ == "__main__":
    main()
