"""Golden examples of the SAE browser's messages; `make_wire.py` writes them."""

from __future__ import annotations

from saewidgets.widgets.messages import saes as s
from saewidgets.widgets.messages.wire import Note, Setting, Wire

CARD = s.SaeCard(
    id="sae_5f0c9a1e", name="gemma-scope-2b-res-l12-16k-l0-82", source="gemma_scope", source_label="Gemma Scope",
    canonical=True, model="google/gemma-2-2b", layer=12, hook_name="blocks.12.hook_resid_post", site="residual",
    architecture="JumpReLU, L0 82", d_in=2304, d_sae=16_384, d_out=768, format="saelens", format_label="SAELens",
    features_extracted=16_384, size_bytes=302_000_000, created_at=1_790_000_000.0, training_id="train_01J8",
    training_name="gpt2-l6-topk-k32", fvu=0.118, ce_loss_score=0.957, tags=("canonical",), state="missing",
    state_note="sae.safetensors is no longer in its folder.",
)  # fmt: skip
SELECTED = s.SelectedSae(
    id=CARD.id, name=CARD.name, size_bytes=302_000_000, d_in=2304, d_sae=16_384, features_extracted=16_384,
    training_id="train_01J8",
)  # fmt: skip
CHOICE = s.Choice(value="gemma_scope", label="Gemma Scope", count=3)
FACT = s.SaeFact(label="Hook name", value="blocks.12.hook_resid_post", code=True)
HISTOGRAM = s.Histogram(
    title="Feature density", note="mean 3e-4", x_label="share of tokens", edges=(1e-6, 1e-4, 1e-2), counts=(900, 40),
    log=True, zeros=412, zeros_label="never", summary="Feature density: 1,352 latents by the share of tokens.",
)  # fmt: skip
NOTE = Note(what="It is in use.", where=CARD.name, hint="Wait.", kind="error")
SETTING = Setting(name="sae.k", value="32")
QUERY = {
    "source": "gemma_scope", "model": "google/gemma-2-2b", "layer": 12, "architecture": "jumprelu",
    "format": "saelens", "search": "res", "sort": "newest", "offset": 50,
}  # fmt: skip
ABOUT = {
    "name": "mine", "model": "gpt2", "hook_name": "blocks.6.hook_resid_post", "apply_b_dec_to_input": True,
}  # fmt: skip

EXAMPLES: tuple[Wire, ...] = (
    s.SaeBrowserState(
        revision=7, cards=(CARD,), matching=51, matching_bytes=9_000_000_000, total=120, page_size=50,
        query=s.SaeQuery.model_validate(QUERY),
        facets=s.SaeFacets(source=(CHOICE,), layer=(s.Choice(value="12", label="12", count=3),)),
        selected=(SELECTED,), export_formats=(s.Choice(value="saelens", label="SAELens"),), download_shown=True,
        revealed="sae_1", notice=NOTE, updated_at=1_790_000_131.0,
    ),
    s.BrowseSaes.model_validate({"id": "c-1", **QUERY}),
    s.SelectSaes(id="c-2", sae_ids=(CARD.id,)),
    s.DescribeSae(id="c-3", sae_id=CARD.id),
    s.MeasureSae(id="c-4", sae_id=CARD.id),
    s.EditSae(id="c-5", sae_id=CARD.id, name="better", notes="fires on dates", tags=("dates",)),
    s.LocateSae(id="c-6", sae_id=CARD.id, path="/data/lab-run-0412"),
    s.ExportSaes(id="c-7", sae_ids=(CARD.id,), folder="exported", format="saelens"),
    s.DeleteSaes(id="c-8", sae_ids=(CARD.id,)),
    s.CompareSaes(id="c-9", first=CARD.id, second="sae_2"),
    s.ShowTraining(id="c-10", training_id="train_01J8"),
    s.AddLocal.model_validate({"id": "c-11", "path": "/data/sae", **ABOUT}),
    s.BeginUpload(id="c-12", files=(s.UploadFile(name="sae/cfg.json", size=512),)),
    s.UploadChunk(id="c-13", upload_id="u1", file=0, offset=1_000_000),
    s.FinishUpload.model_validate({"id": "c-14", "upload_id": "u1", **ABOUT}),
    s.CancelUpload(id="c-15", upload_id="u1"),
    s.ShowDownload(id="c-16", shown=True),
    s.ShowExtractions(id="c-17", shown=True, sae_id="sae_5f0c9a1e"),
    s.ShowSteering(id="c-18", shown=True, sae_id="sae_5f0c9a1e"),
    s.SaeDetails(
        sae_id=CARD.id, facts=(FACT,), settings=(SETTING,), problem=NOTE,
        snippets=(s.Snippet(label="With saewidgets", code="import saewidgets as sw"),), name=CARD.name,
        notes="fires on dates", tags=("dates",),
    ),
    s.SaeStatistics(sae_id=CARD.id, histograms=(HISTOGRAM,), facts=(FACT,)),
    s.SaeComparison(
        first=SELECTED, second=SELECTED, facts=(FACT,), histogram=HISTOGRAM,
        matches=(s.SaeMatch(first=7451, second=12, cosine=0.991),), differences=(("Model", "gpt2", "demo"),),
    ),
    s.SaesDone(done=(CARD.id,), paths=("/data/exported",), problems=(NOTE,)),
    s.TrainingFacts(
        training_id="train_01J8", name="gpt2-l6-topk-k32", status="completed", facts=(FACT,), settings=(SETTING,)
    ),
)  # fmt: skip
