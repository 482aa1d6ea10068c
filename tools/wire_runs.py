"""Golden examples of messages about several trainings, comparisons and templates; see `make_wire.py`."""

from __future__ import annotations

from saewidgets.widgets.messages import runs as r
from saewidgets.widgets.messages import training as m
from saewidgets.widgets.messages import wire as w

IDS = ("train_01J8", "train_01J9")
COMPARE = m.CompareState(
    training_ids=IDS, names=("gpt2-l6-topk-k32", "gpt2-l6-jumprelu"), series=(0, None),
    results=(m.ResultRow(label="FVU", values=("0.118", "0.131"), best=(True, False)),), y_axis="fvu",
    scope="gpt2\nblocks.6.hook_resid_post",
    scopes=(
        m.Scope(value="gpt2\nblocks.6.hook_resid_post", label="gpt2 · blocks.6.hook_resid_post", count=9),
        m.Scope(value="", label="All models and hooks", count=12),
    ),
    points=(
        m.ParetoPoint(
            id=IDS[0], name="gpt2-l6-topk-k32", architecture="topk", kind="TopK", label="k 32", l0=32.0, y=0.118,
            front=False, preliminary="running",
        ),
    ),
    left_out=1, summary="L0 against FVU, 1 run.", zoomed=False,
)  # fmt: skip
ADVICE = m.AdviceRow(
    kind="dead", severity="warning", title="Dead latents 52 % after 3M tokens.", text="Raise Auxiliary k to about 384.",
    why="A latent that does not fire gets no gradient.", changes={"sae.aux_k": 384},
)  # fmt: skip
CONFIG = {"model": "demo", "sae": {"architecture": "topk", "k": 32}}

EXAMPLES: tuple[w.Wire, ...] = (
    r.RunActions(id="r-1", action="pause", training_ids=IDS),
    r.GroupAction(id="r-13", action="stop", group_id="group_1"),
    r.RenameGroup(id="r-16", group_id="group_1", name="better"),
    r.ExportRuns(id="r-2", training_ids=IDS, folder="trainings"),
    r.CheckpointAction(id="r-3", action="continue", training_id=IDS[0], checkpoint_id="ckpt_1"),
    r.TrainLonger(id="r-4", training_id=IDS[0], tokens=20_000_000),
    r.Compare(id="r-5", training_ids=IDS),
    r.Comparison(id="r-6", training_ids=IDS),
    r.ComparisonTable(id="r-16", training_ids=IDS),
    r.Pareto(id="r-7", y_axis="ce_loss_score", scope="", reset_zoom=True),
    r.OpenSae(id="r-14", sae_id="sae_1"),
    r.ListTemplates(id="r-8", search="gpt2"),
    r.ListStores(id="r-15", architecture="topk"),
    r.SaveTemplate(id="r-9", name="GPT-2 small, TopK", config=CONFIG, training_id=None, replace=True),
    r.TemplateAction(id="r-10", action="rename", template_id="tmpl_1", name="better"),
    r.ImportTemplates(id="r-11", upload_id="u-1"),
    r.ExportTemplates(id="r-12", template_ids=("tmpl_1",)),
    r.RunsDone(
        done=(IDS[0],), paths=("/data/trainings/gpt2-l6-topk-k32",),
        problems=(w.Note(what="gpt2-l6-jumprelu is paused.", where="gpt2-l6-jumprelu", hint="Resume it."),),
    ),
    r.ComparisonData(
        training_ids=IDS, names=COMPARE.names,
        rows=(r.SettingRow(name="sae.k", label="Active latents (k)", values=("32", "–"), differs=True),),
    ),
    r.ComparisonTableData(
        columns=("training_id", "sae.k", "optimizer.amsgrad", "latest.val_fvu"),
        rows=((IDS[0], 32, False, 0.118), (IDS[1], None, True, None)),
    ),
    r.TemplatesData(
        templates=(
            r.TemplateRow(
                id="tmpl_1", name="GPT-2 small, TopK", description="Layer 6", favorite=True, model="gpt2",
                hook_name="blocks.6.hook_resid_post", corpus="demo", architecture="TopK k 32", d_sae=16_384,
                updated_at=1_790_000_000.0,
            ),
        ),
        total=3,
    ),
    r.StoresData(
        stores=(
            r.StoreRow(
                id="acts_01J8", name="gpt2 wikipedia", model="gpt2", corpus="wikimedia/wikipedia",
                hook_names=("blocks.6.hook_resid_post", "blocks.6.hook_mlp_out"), tokens=10_000_000,
                size_bytes=30_720_000_000, problem="1 file is missing.", values={"model": "gpt2", "context_size": 256},
            ),
        ),
    ),
)  # fmt: skip
