"""Records of the hub and its jobs as cards, rows and sentences."""

import json

import pytest

from saewidgets.errors import NotFoundError, SAEWidgetsError
from saewidgets.events import JobStatus, Progress
from saewidgets.hub_records import KnownRepo, Variant
from saewidgets.records import JobRecord
from saewidgets.widgets.download import state as words

GEMMA, SPARSIFY = "google/gemma-scope-2b-pt-res", "EleutherAI/sae-pythia-410m-65k"
KNOWN = (
    KnownRepo(GEMMA, "Gemma Scope 2B, residual", "google/gemma-2-2b"),
    KnownRepo(SPARSIFY, "Pythia 410M", "EleutherAI/pythia-410m"),
    KnownRepo("jbloom/GPT2-Small-SAEs-Reformatted", "GPT-2 small", "gpt2"),
)
PAYLOAD = {"repo_id": GEMMA, "path": "layer_12/width_65k/average_l0_72", "revision": "abc", "total_bytes": 1000}


def job(status: JobStatus = JobStatus.RUNNING, **changes: object) -> JobRecord:
    return JobRecord("job_1", "download", status, "host/downloads", payload=PAYLOAD, **changes)  # type: ignore[arg-type]


WAITS = Progress(250, 1000, "bytes", phase="retrying", attempt=2, wait_seconds=8.0)
READS = Progress(250, 1000, "bytes", 50.0, 15.0, "downloading")
BARE = JobRecord("job_9", "download", JobStatus.QUEUED, "host/downloads")


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (job(progress=WAITS), {"phase": "retrying", "attempt": 2, "wait_seconds": 8.0}),
        (job(JobStatus.PAUSED, progress=WAITS), {"phase": None, "attempt": None, "wait_seconds": None}),
        (job(progress=READS), {"bytes_done": 250, "bytes_total": 1000, "fraction": 0.25, "rate": 50.0}),
        (job(), {"name": f"{GEMMA} / layer_12 / width_65k / average_l0_72"}),
        (BARE, {"name": "job_9", "bytes_total": 0, "fraction": 0.0}),
        (job(JobStatus.COMPLETED, result="sae_1"), {"bytes_done": 1000, "fraction": 1.0, "sae_id": "sae_1"}),
        (job(JobStatus.COMPLETED), {"sae_id": None}),
        (job(JobStatus.RUNNING, result="sae_1"), {"sae_id": None}),
    ],
)
def test_what_a_card_says(record: JobRecord, shown: dict[str, object]) -> None:
    card = words.card_of(record)
    assert {name: getattr(card, name) for name in shown} == shown


@pytest.mark.parametrize(
    ("text", "paths", "path"),
    [
        (f"{SPARSIFY}/layers.18.mlp", ("layers.18", "layers.18.mlp"), "layers.18.mlp"),
        (f"https://huggingface.co/{SPARSIFY}/tree/main/layers.6/", ("layers.6", "layers.18"), "layers.6"),
        (SPARSIFY, ("layers.6", "layers.18"), ""),
        ("anything", ("deep/folder",), "deep/folder"),  # the only one
    ],
)
def test_finds_the_requested_folder(text: str, paths: tuple[str, ...], path: str) -> None:
    variants = [Variant(SPARSIFY, "abc", each, "sparsify", 1) for each in paths]
    assert words.asked_path(text, variants) == path


def test_any_config_is_sent_as_json() -> None:
    nested: dict[str, object] = {}
    for _ in range(50):
        nested = {"deeper": nested}
    config = {"nan": float("nan"), "big": 10**400, "other": {1, 2}, "tuple": (1, 2.5), "nested": nested}
    shown = words.shown_config(config)
    json.dumps(shown, allow_nan=False)
    assert shown["nan"] == "NaN"
    assert shown["tuple"] == [1, 2.5]
    too_long = words.shown_config({"first": 1, "huge": "x" * 200_000, "last": 2})
    assert too_long == {"first": 1, "…": "2 more settings are not shown"}


def test_near_names_and_repositories_on_a_model_are_suggested() -> None:
    assert words.suggestions_for("EleutherAI/sae-pythia-410-65k@main", KNOWN) == (SPARSIFY,)
    assert words.suggestions_for("openai-community/gpt2", KNOWN) == ("jbloom/GPT2-Small-SAEs-Reformatted",)
    assert words.suggestions_for("https://huggingface.co/EleutherAI/pythia-410m", KNOWN) == (SPARSIFY,)
    assert words.suggestions_for("one word", KNOWN) == ()
    assert words.suggestions_for("nobody/nothing-like-it", [KnownRepo(SPARSIFY, "", "")]) == ()


def test_problems_have_a_message_and_a_place() -> None:
    class NoSAEError(SAEWidgetsError):
        suggestions = ("a/b",)

    problem = words.problem_of(NoSAEError("Nothing here is an SAE.", where="x/y", hint="Try another."), "x/y", KNOWN)
    assert problem.kind == "no_sae"
    assert problem.what == "Nothing here is an SAE (x/y)."
    assert problem.suggestions == ("a/b",)
    there = NoSAEError("No SAE found in x/y. It holds a model.", hint="SAEs trained on it: a/b, c/d. Or train one.")
    alone = words.problem_of(there, "a/b", ())
    assert (alone.suggestions, alone.hint) == ((), "It holds a model. Or train one.")
    split = words.problem_of(there, "x/y", KNOWN)
    assert (split.what, split.hint) == ("No SAE found in x/y.", "It holds a model. Or train one.")
    named = words.problem_of(NotFoundError("Repository not found: x/y.", where="x/y"), "x/y", ())
    assert (named.kind, named.what) == ("not_found", "Repository not found: x/y.")
