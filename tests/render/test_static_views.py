"""Static copies: each says what it is a copy of, draws its widget's state, and takes nothing for markup."""

import re
from typing import Any

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.records import ErrorInfo
from saewidgets.render import facts_card, runs_html, runs_page
from saewidgets.render.static_views import downloads_page, extractions_page, saes_page, steering_page
from saewidgets.widgets.messages.features import ExtractionCard, ViewerState
from saewidgets.widgets.messages.hub import DownloadCard, HubState
from saewidgets.widgets.messages.saes import SaeBrowserState, SaeCard
from saewidgets.widgets.messages.steering import SteeringRow, SteeringSettings, SteeringState
from saewidgets.widgets.messages.training import PanelState
from saewidgets.widgets.messages.wire import Note, State
from tests.widgets.seeded_runs import make_record

EVIL = "<img src=x onerror=alert(1)>"
NOTE = Note(what=EVIL, hint=EVIL)


def state_of(kind: type[State], **fields: Any) -> dict[str, Any]:
    return kind(workspace="lab", **fields).model_dump(mode="json")


def sae(**changes: Any) -> SaeCard:
    values: dict[str, Any] = {
        "id": "s", "name": "gpt2-l6", "source": "trained", "source_label": "Trained", "model": "gpt2",
        "hook_name": "blocks.6.hook_resid_post", "architecture": "TopK, k 32", "d_sae": 16_384, "d_in": 768,
        "format": "saelens", "format_label": "SAELens", "size_bytes": 101_000_000, "created_at": 1_790_000_000.0,
    }  # fmt: skip
    return SaeCard(**{**values, **changes})


def download(**changes: Any) -> DownloadCard:
    return DownloadCard(**{"id": "j", "name": "a / b", "status": "running", "repo_id": "a", **changes})


def extraction(**changes: Any) -> ExtractionCard:
    values: dict[str, Any] = {
        "id": "e", "name": "gpt2-l6", "source": "trained", "source_label": "Trained", "model": "gpt2", "d_sae": 16_384,
        "status": "running", "tokens_total": 1000, "tokens_done": 410, "fraction": 0.41, "created_at": 0.0,
    }  # fmt: skip
    return ExtractionCard(**{**values, **changes})


ROW = SteeringRow(key="f1", sae_id="s", sae="gpt2-l6", index=7, label="ships", mode="clamp", strength=3.0)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (runs_page(state_of(PanelState)), ("Static copy of the training panel (lab), as of –.", "No trainings yet")),
        (
            saes_page(state_of(SaeBrowserState, cards=[sae()], total=5000, matching=1200)),
            (
                "Static copy of the SAE browser (lab), as of –: 1 of 5,000 SAEs, 1,200 match the filters.",
                "gpt2 · blocks.6.hook_resid_post", "16,384 × 768", "SAELens", "101 MB",
            ),
        ),
        (
            saes_page(state_of(SaeBrowserState, cards=[sae(model=None, hook_name=None)], total=1, matching=1)),
            (": 1 of 1 SAE.", ">–<"),
        ),
        (saes_page(state_of(SaeBrowserState)), ("No SAEs yet",)),
        (saes_page(state_of(SaeBrowserState, total=3)), ("No SAE matches",)),
        (
            saes_page(state_of(SaeBrowserState, cards=[sae(state="missing", state_note="sae.safetensors is gone.")])),
            ("⚠ Files not found. sae.safetensors is gone.",),
        ),
        (
            downloads_page(state_of(HubState, downloads=[download(bytes_done=365_000_000, bytes_total=537_000_000)])),
            ("Static copy of the downloads (lab)", "▶ Running", "365 MB of 537 MB"),
        ),
        (downloads_page(state_of(HubState)), ("No downloads",)),
        (
            extractions_page(state_of(ViewerState, cards=[extraction()], total=3)),
            ("Static copy of the extraction viewer (lab), as of –: 1 of 3 extractions.", "410 of 1K", "16,384"),
        ),
        (extractions_page(state_of(ViewerState)), ("No features yet",)),
        (steering_page(state_of(SteeringState, rows=[ROW]), []), ("ships", "Clamp to", ">3<")),
        (
            steering_page(state_of(SteeringState, settings=SteeringSettings(prompt="Once upon")), []),
            ("Static copy of the steering (lab)", "No feature chosen", "Once upon"),
        ),
    ],
)  # fmt: skip
def test_a_copy_is_labelled_and_shows_the_state(page: str, words: tuple[str, ...]) -> None:
    assert not [each for each in words if each not in page]


def test_a_copy_of_some_runs_says_how_many_more_there_are() -> None:
    assert "and 1,234 more" in runs_page(state_of(PanelState, total=1234))


def test_the_time_of_the_copy() -> None:
    assert "as of 2001-09-0" in runs_page(state_of(PanelState, updated_at=1e9))


def test_text_from_outside_is_escaped() -> None:
    bad = make_record("t", TrainingConfig(model=EVIL), name=EVIL, error=ErrorInfo(EVIL, EVIL))
    pages = [
        runs_html([bad]),
        saes_page(state_of(SaeBrowserState, cards=[sae(name=EVIL, model=EVIL, state="changed", state_note=EVIL)])),
        downloads_page(state_of(HubState, downloads=[download(name=EVIL, note=NOTE)])),
        extractions_page(state_of(ViewerState, cards=[extraction(name=EVIL, note=NOTE)])),
        steering_page(state_of(SteeringState, rows=[ROW.model_copy(update={"label": EVIL, "sae": EVIL})]), []),
        steering_page(state_of(SteeringState, settings=SteeringSettings(prompt=EVIL)), []),
    ]
    assert [page.count("&lt;img") for page in pages] == [4, 3, 3, 3, 2, 1]
    assert not [page for page in pages if "<img" in page]


def test_a_run_is_one_row_with_status_in_words() -> None:
    record = make_record("t", TrainingConfig(), status=JobStatus.FAILED, latest={"loss": 0.5, "dead": 0.01})
    html = runs_html([record])
    for words in ("✕ Failed", "0.5000", "1.0 %", "TopK k 32 · d_sae 16,384"):
        assert words in html
    assert re.search("<table style=\"[^\"]*table-layout:auto", html)  # JupyterLab's own rule is "fixed"


def test_a_card_of_facts() -> None:
    assert facts_card("SAE <1>", {"d_sae": 5}).count("&lt;1&gt;") == 1
