"""Golden examples of the extraction viewer's messages; `make_wire.py` writes them."""

from __future__ import annotations

from saewidgets.widgets.messages import effects as e
from saewidgets.widgets.messages import features as x
from saewidgets.widgets.messages.saes import Choice, Histogram, SaeFact
from saewidgets.widgets.messages.wire import Note, Wire

ID = "ext_sae_5f0c9a1e_1790000000000000"
SAE = "sae_5f0c9a1e"
NAME = "demo-l2-topk-16k"
AT = 1_790_000_000.0
NOTE = Note(what="Out of memory on cuda:0 at 360,448 tokens.", where=NAME, hint="Lower Batch size.", kind="error")
QUERY = x.FeatureQuery(search="ship", show="labelled", sort="density", descending=True)
VIEW = x.ViewerView(
    tab="prompt", extraction_id=ID, feature=7451, query=QUERY, context="full", line_breaks=True, prompt="The ship",
    dialog_sae=SAE,
)  # fmt: skip
CARD = x.ExtractionCard(
    id=ID, sae_id=SAE, training_id="train_01J8", name=NAME, source="trained", source_label="Trained", model="demo",
    d_sae=16_384, status="running", tokens_total=1_000_000, tokens_done=410_000, fraction=0.41, rate=9020.0,
    eta_seconds=65.0, phase="reading", queue_position=1, seen=11_872, dead=412, dense=61, size_bytes=318_000_000,
    seconds_running=372.0, created_at=AT, note=NOTE, has_logits=True,
    logits=e.LogitsJob(
        status="running", fraction=0.25, done=4096, total=16_384, eta_seconds=12.0, phase="computing", queue_position=1,
        note=NOTE,
    ),
)  # fmt: skip
OPEN = x.OpenExtraction(
    id=ID, sae_id=SAE, name=NAME, model="demo", hook_name="blocks.2.hook_resid_post", d_sae=16_384,
    n_tokens=1_000_000, n_contexts=3906, context_size=256, n_documents=3906, dead=412, dense=61, labelled=9120,
    starred=3, versions=(Choice(value=ID, label="19 Nov, 1M tokens"),), live=False, live_note="The model is gone.",
)  # fmt: skip
ROW = x.FeatureRow(
    index=7451, label="ships and sailing vessels", auto=True, top_tokens=(" ship", " vessel"), density=0.00238,
    max=41.7013, score=0.86, starred=True,
)  # fmt: skip
NOTES = x.FeatureNotes(
    index=7451,
    labels=(
        x.FeatureLabel(text="ships", description="Vessels of all kinds.", source="user", by="", created_at=AT),
    ),
    notes="see also 2210", starred=True,
)  # fmt: skip
HISTOGRAM = Histogram(
    title="Activations", note="non-zero", x_label="activation", edges=(0.0, 20.85, 41.7), counts=(2300, 80),
    summary="Non-zero activations: 2,380 from 0 to 41.7.",
)  # fmt: skip
EXAMPLE = x.Example(
    position=40_212, value=41.7013, peak=1, tokens=(0, 1, 2), before=True, after=True, offset=118, context=157,
    document=12,
)  # fmt: skip
GROUP = x.ExampleGroup(
    title="Interval 12.5 – 16.7", low=12.5, high=16.7, count=193, share=0.081, token_share=0.00019,
    examples=(EXAMPLE,),
)  # fmt: skip
RELATED = x.RelatedFeature(index=2210, label="boats and small craft", top_tokens=(" boat",), value=0.61)
VALUES = {"corpus": "demo", "tokens": "1,000,000", "exclude_special_tokens": True}
TEXTS = (" the", " ship", " sailed")

EXAMPLES: tuple[Wire, ...] = (
    x.ExtractionViewerState(
        revision=7, cards=(CARD,), total=3, active=1, open=OPEN, view=VIEW, n_saes=4, features_revision=2, notice=NOTE,
        updated_at=AT, code="ws", below="steering",
    ),
    x.ListSaes(id="c-1", source="trained", model="demo", search="topk"),
    x.ExtractionForm(id="c-2", sae_id=SAE, extraction_id=ID),
    x.CheckExtraction(id="c-3", sae_id=SAE, values=VALUES),
    x.StartExtraction(id="c-4", sae_id=SAE, values=VALUES),
    x.TryDemo(id="c-5"),
    x.ExtractionAction(id="c-6", extraction_id=ID, action="pause"),
    x.ShowView(id="c-7", view=VIEW),
    x.QueryFeatures(id="c-8", extraction_id=ID, query=QUERY, offset=100, limit=100),
    x.StepFeature(id="c-9", extraction_id=ID, query=QUERY, index=7451, step="next"),
    x.OpenFeature(id="c-10", extraction_id=ID, index=7451),
    x.FeatureLogits(id="c-11", extraction_id=ID, index=7451),
    x.FeatureRelations(id="c-12", extraction_id=ID, index=7451),
    x.ExpandExample(id="c-13", extraction_id=ID, index=7451, position=40_212),
    x.TestText(id="c-14", extraction_id=ID, index=7451, text="The old schooner"),
    x.ReadPrompt(id="c-15", extraction_id=ID, text="The ship", rank_by="token", token=1, hide_dense=True, limit=50),
    x.EditFeature(
        id="c-16", extraction_id=ID, index=7451, label="ships", description="Vessels.", notes="", starred=True
    ),
    x.SuggestLabel(id="c-17", extraction_id=ID, index=7451),
    x.LabelFeatures(id="c-18", extraction_id=ID),
    x.ExportFeatures(id="c-19", extraction_id=ID, what="html", path="out.html", indices=(7451,), query=QUERY),
    x.ImportLabels(id="c-20", extraction_id=ID, path="labels.csv"),
    x.SteerFeature(id="c-21", extraction_id=ID, index=7451),
    e.LogitsAction(id="c-22", extraction_id=ID, action="start"),
    e.ReadLossEffect(id="c-23", extraction_id=ID, index=7451, position=40_212),
    e.LossEffectData(index=7451, effect=-0.184, loss=2.31, problem=NOTE),
    x.SaeChoices(
        rows=(
            x.SaeChoice(
                id=SAE, name=NAME, source="trained", source_label="Trained", model="demo", layer=2, d_sae=16_384,
                features_extracted="13,434 so far", state="missing",
            ),
        ),
        total=6, sources=(Choice(value="trained", label="Trained", count=2),),
        models=(Choice(value="demo", label="demo", count=1),), note="1 has no files, 1 is being downloaded",
    ),
    x.ExtractionFormData(
        sae_id=SAE, name=NAME, d_sae=16_384,
        fields=(
            x.ExtractionField(name="tokens", label="Tokens", value="1,000,000", hint="rare need more", help="?"),
            x.ExtractionField(name="exclude_special_tokens", label="Skip special tokens", value=True),
        ),
    ),
    x.ExtractionCheck(
        errors={"tokens": "Tokens is 0. Enter 1 or more."}, device="cuda:0", seconds=110.0, disk_bytes=58_000_000,
        disk_free=41_000_000_000, memory_bytes=1_400_000_000, memory_free=6_100_000_000, warnings=(NOTE,),
    ),
    x.FeatureRows(matching=9120, offset=100, max_density=0.16, rows=(ROW,)),
    x.FeaturePlace(index=7452, row=101),
    x.FeaturePage(
        extraction_id=ID, index=7451, density=0.00238, fired=2380, n_tokens=1_000_000, max=41.7013, mean=9.42,
        n_documents=611, documents=3906, notes=NOTES, row=ROW, texts=TEXTS, groups=(GROUP,), histogram=HISTOGRAM,
        tokens=(x.TokenCount(token=" ship", count=9, share=0.45, mean=36.2),),
        facts=(SaeFact(label="Hook name", value="blocks.2.hook_resid_post", code=True),),
        link='sw.ExtractionViewer(view={"feature": 7451})', list_max=41.7013,
    ),
    x.FeatureLogitsData(
        index=7451, raises=(x.TokenLogit(token=" ship", logit=1.94),), lowers=(x.TokenLogit(token=" he", logit=-0.52),),
        histogram=HISTOGRAM, problem=NOTE,
    ),
    x.FeatureRelationsData(
        index=7451, similar=(RELATED,), coactive=(RELATED,), sampled=2048, note="of 2,048 sampled firings", problem=NOTE
    ),
    x.ExampleContext(
        position=40_212, peak=1, texts=TEXTS, tokens=(0, 1, 2), complete=False, note="Only those near the peak."
    ),
    x.TestedText(
        index=7451, texts=TEXTS, tokens=(0, 1, 2), max=29.6, fired=1, seconds=0.04, note="BOS is left out."
    ),
    x.PromptReading(
        texts=TEXTS, tokens=(0, 1, 2),
        rows=(
            x.PromptRow(
                index=7451, label="ships", auto=True, top_tokens=(" ship",), density=0.00238, max=38.2, own_max=41.7013
            ),
        ),
        firing=38, hidden=31, note="BOS is left out.",
    ),
    NOTES,
    x.Suggestion(index=7451, text="ships", by="offline heuristic", note="from 20 examples"),
)  # fmt: skip
