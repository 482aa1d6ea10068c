"""Golden examples of the messages of the steering widget, for `make_wire.py`."""

from __future__ import annotations

from saewidgets.widgets.messages import steering as s
from saewidgets.widgets.messages import wire as w

SAE = s.SteeringSae(
    id="sae_1", name="demo-l2-topk-16k", model="demo", hook_name="blocks.2.hook_resid_post", d_sae=16_384
)
ROW = s.SteeringRow(
    key="f1", sae_id="sae_1", sae="demo-l2-topk-16k", index=7451, label="ships and sailing vessels", mode="add_max",
    strength=2.0, a_max=41.7, usual=2.0, basis="over 65,536 tokens (extraction)", pending=False,
    problem=w.Note(what="Feature 7451 did not fire.", hint="Its strength is an activation.", kind="warn"),
)
SETTINGS = s.SteeringSettings(
    positions=(1, 2), prompt="In the morning the old man walked down to the", strengths=(-4.0, 0.0, 4.0), swept="f1"
)
PROBLEM = w.Note(what="Nothing was generated: the prompt is 249 tokens.", hint="Shorten the prompt by 53 tokens.")
TEXT = s.SteeringText(
    pieces=(" village", " and"), changed=(0,), finish="length", perplexity=11.2, repetition=0.0, kl_first=1.31,
    change_ratio=0.38,
)
PRESET = s.PresetRow(
    name="ships", features=1, saes=("demo-l2-topk-16k",), prompt="In the morning", saved_at=1_790_000_000.0, problem="x"
)

EXAMPLES: tuple[w.Wire, ...] = (
    s.SteeringState(
        revision=7,
        saes=(SAE,),
        sae_id="sae_1", rows=(ROW,), settings=SETTINGS, gauge=s.Gauge(ratio=0.38, over="steered tokens"),
        run=s.SteeringRun(
            number=3, kind="generate", status="failed", phase="writing",
            texts=(s.LiveText(run="baseline", strength=2.0, tokens=2, text=" village and"),), seconds=1.4,
            problem=PROBLEM,
        ),
        generated=2, swept=1, presets=1, code="ws", can_browse=True, can_close=True,
        notice=PROBLEM, updated_at=1_790_000_131.0,
    ),
    s.SteeringEdit(
        id="c-1", rows=(s.SteeringEditRow(key="f1", mode="clamp", strength=0.5),), settings=s.SteeringSettings()
    ),
    s.SteeringAdd(id="c-2", sae_id="sae_1", index=7451, label="ships"),
    s.SteeringRemove(id="c-3", key="f1"),
    s.SteeringChoose(id="c-4", sae_id="sae_1"),
    s.SteeringFind(id="c-5", sae_id="sae_1", text="ship"),
    s.SteeringTokens(id="c-6", prompt="In the morning"),
    s.SteeringGenerate(id="c-7", what="sweep"),
    s.SteeringStop(id="c-8"),
    s.SteeringRead(id="c-9", what="sweep"),
    s.SteeringNext(id="c-10", number=3, text="steered", token=0),
    s.SteeringCopy(id="c-11"),
    s.SteeringPresets(id="c-12"),
    s.SteeringPreset(id="c-13", action="save", name="ships", replace=True),
    s.SteeringBrowse(id="c-14"),
    s.SteeringDemo(id="c-15"),
    s.SteeringClose(id="c-16"),
    s.SteeringHits(sae_id="sae_1", text="ship", hits=(s.SteeringHit(index=7451, label="ships"),), note="No label."),
    s.SteeringTokensData(
        prompt="In the", tokens=(s.PromptPiece(piece="<|bos|>", bos=True), s.PromptPiece(piece="In"))
    ),
    s.SteeringTexts(
        number=3, prompt_pieces=("In", " the"), baseline=TEXT, steered=TEXT, first_difference=0,
        sweep=(
            s.SweptText(strength=-4.0, text=" land", perplexity=64.0, repetition=0.31, change_ratio=0.76),
        ),
        swept="f1", swept_name="feature 7451", notes=("The change is large: ‖Δ‖ / ‖h‖ is 1.52.",), seconds=1.4,
        stopped=True,
    ),
    s.SteeringNextData(
        number=3, text="steered", token=0, piece=" ship",
        rows=(s.NextToken(piece=" ship", baseline=0.002, steered=0.314),),
    ),
    s.SteeringPresetsData(presets=(PRESET,)),
)  # fmt: skip
