import traceback
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import huggingface_hub.utils._http
import pytest

from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.hub.browse import variants
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import (
    ConflictError,
    ConnectionLostError,
    ForbiddenError,
    HubError,
    HubOfflineError,
    HubServerError,
    InvalidTokenError,
    RateLimitError,
    RepositoryNotFoundError,
)
from saewidgets.hub.publish import CardSource, model_card, push, source_url
from saewidgets.hub.repository import repo_info
from saewidgets.hub.transfer import download
from tests.hub.repos import HOSTILE, saelens_files
from tests.hub.server import TOKENS, Hub

READER, WRITER = TOKENS
Make = Callable[..., HubClient]


@pytest.fixture(autouse=True)
def _with_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As people have it: `hf_xet` is installed and not switched off."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False, raising=False)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub tries some requests again, with seconds in between."""
    monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda seconds: None)


@pytest.fixture
def sae(tmp_path: Path) -> Path:
    folder = tmp_path / "sae"
    folder.mkdir()
    for name, data in saelens_files(3).items():
        (folder / name).write_bytes(data)
    (folder / ".hidden").write_text("mine")
    (folder / "half.incomplete").write_text("x")
    return folder


def test_published_saes_can_be_downloaded(hub: Hub, client_of: Make, sae: Path) -> None:
    client = client_of(WRITER)
    card = model_card(title="An SAE", model="openai-community/gpt2", facts={"d_sae": 256})
    done = push(sae, "writer/my-sae", client=client, path="blocks.3", card=card)
    repo = hub.state.repos["writer/my-sae"]
    assert repo.private
    assert set(repo.files) == {".gitattributes", "README.md", *(f"blocks.3/{name}" for name in saelens_files(3))}
    assert done.revision == repo.branches["main"] == repo_info("writer/my-sae", client=client).revision
    assert done.url == f"{hub.endpoint}/writer/my-sae/tree/main/blocks.3"
    [one] = variants("writer/my-sae", client=client)
    assert one.path == "blocks.3"
    back = download("writer/my-sae/blocks.3", client=client)
    for name, data in saelens_files(3).items():
        assert (back.folder / name).read_bytes() == data


def test_an_existing_card_is_kept(hub: Hub, client_of: Make, sae: Path) -> None:
    client = client_of(WRITER)
    push(sae, "writer/two", client=client, card="# first", private=False)
    assert not hub.state.repos["writer/two"].private
    push(sae, "writer/two", client=client, path="again", card="# second")
    assert hub.state.repos["writer/two"].files["README.md"] == b"# first"


def test_everything_arrives_in_one_commit_by_plain_requests(
    hub: Hub, client_of: Make, sae: Path, caplog: pytest.LogCaptureFixture
) -> None:
    push(sae, "writer/once", client=client_of(WRITER), card="# Card")
    assert len(hub.requests("/writer/once/commit/")) == 1
    assert not hub.requests("xet-write-token")
    [weights] = [seen for seen in hub.requests("/storage/upload/") if int(seen.headers["content-length"]) > 10_000]
    assert "transfer-encoding" not in weights.headers, "signed addresses take no stream of unknown length"
    assert not caplog.records


def test_publishing_the_same_files_changes_nothing(hub: Hub, client_of: Make, sae: Path) -> None:
    client = client_of(WRITER)
    push(sae, "writer/same", client=client)
    before = hub.state.repos["writer/same"].files
    push(sae, "writer/same", client=client)
    assert hub.state.repos["writer/same"].files == before


CREATE, BATCH, COMMIT, STORAGE = "/api/repos/create", "/objects/batch", "/commit/", "/storage/upload/"


@pytest.mark.parametrize(
    ("places", "status", "error", "what", "hint"),
    [
        ((CREATE, COMMIT), 401, InvalidTokenError, "does not know this access token", "write permission"),
        ((CREATE, BATCH, COMMIT), 403, ForbiddenError, "does not let this token write", "write permission for writer"),
        ((CREATE, BATCH), 404, RepositoryNotFoundError, "no place writer/x", "account writer exists"),
        ((COMMIT,), 409, ConflictError, "Somebody else has changed it", "Publish again"),
        ((CREATE, COMMIT), 412, ConflictError, "Somebody else has changed it", "Publish again"),
        ((BATCH, COMMIT), 429, RateLimitError, "too many requests", "Try again in"),
        ((CREATE, BATCH, COMMIT), 500, HubServerError, "HTTP 500", "Publish again"),
        ((CREATE, BATCH, COMMIT), 503, HubServerError, "HTTP 503", "Publish again"),
        ((CREATE, COMMIT), 422, HubError, "HTTP 422: some words", "Check"),
        ((STORAGE,), 403, HubError, "HTTP 403", "Publish again"),
        ((STORAGE,), 503, HubServerError, "HTTP 503", "Publish again"),
    ],
)
def test_each_status_has_its_own_error(
    hub: Hub, client_of: Make, sae: Path, places: tuple[str, ...], status: int, error: type[HubError], what: str,
    hint: str,
) -> None:
    client = client_of(WRITER)
    for place in places:
        hub.fail(place, "status", status, message=f"some words, {WRITER}")
        with pytest.raises(HubError) as raised:
            push(sae, "writer/x", client=client, card="# Card")
        assert type(raised.value) is error
        assert what in raised.value.what
        assert raised.value.what.endswith("."), "the hint is a sentence of its own"
        assert hint in str(raised.value.hint)
        assert "connection" not in str(raised.value).lower()
        assert WRITER not in "".join(traceback.format_exception(raised.value))
        repo = hub.state.repos.get("writer/x")
        assert repo is None or set(repo.files) == {".gitattributes"}, "nothing is half published"
        hub.heal()
    push(sae, "writer/x", client=client, card="# Card")
    assert "README.md" in hub.state.repos["writer/x"].files


def test_without_a_status_the_connection_is_to_blame(hub: Hub, client_of: Make, sae: Path) -> None:
    client = client_of(WRITER)
    hub.fail(COMMIT, "hang", 0)
    with pytest.raises(ConnectionLostError, match="broke off"):
        push(sae, "writer/x", client=client)
    gone = HubClient(WRITER, "http://127.0.0.1:1", cache_dir=client.cache_dir)
    with pytest.raises(HubOfflineError, match="cannot be reached"):
        push(sae, "writer/x", client=gone)


def test_names_and_folders_are_checked(hub: Hub, client_of: Make, sae: Path, tmp_path: Path) -> None:
    client = client_of(WRITER)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden").write_text("mine")
    with pytest.raises(NotFoundError, match="no files"):
        push(tmp_path / "empty", "writer/x", client=client)
    with pytest.raises(ConfigError):
        push(sae, "no-owner", client=client, path="x")
    with pytest.raises(ConfigError):
        push(sae, "writer/x", client=client, path="../x")
    with pytest.raises(NotFoundError):
        push(tmp_path / "nothing", "writer/x", client=client)
    assert not hub.requests()


def test_a_card_names_the_source() -> None:
    url = source_url("https://me:secret@hub.example/x/", "lab/saes", "a" * 40, "layer 1/(b)")
    assert url == f"https://hub.example/x/lab/saes/tree/{'a' * 40}/layer%201/%28b%29"
    assert source_url("https://huggingface.co", "a/b", "main", "layer.sae.pt").endswith("/a/b/blob/main/layer.sae.pt")
    card = model_card(title="x", license="mit", source=CardSource("lab/saes", "a" * 40, "", url, "npz", "Apache-2.0"))
    assert f"published in [lab/saes]({url}), at commit {'a' * 40}" in card
    assert "converted from the format npz" in card
    assert "licence of the source is Apache-2.0; this repository was given mit." in card
    same = model_card(title="x", license="mit", source=CardSource("lab/saes", "main", "p", url, None, "MIT"))
    assert "files are those of the source" in same
    assert "licence of the source is MIT, as here" in same
    assert "is not recorded" in model_card(title="x", source=CardSource("lab/saes", "main", "p", url))
    link = source_url("https://h", "a/b", "c", HOSTILE)
    hostile = CardSource(HOSTILE, HOSTILE, f"a|b]({HOSTILE})", link, HOSTILE, HOSTILE)
    shown = model_card(title="x", source=hostile)
    assert HOSTILE not in shown
    assert r"a\|b\](" in shown
    assert "(https://h/a/b/tree/c/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E)" in shown


def test_a_card_is_data_not_markup() -> None:
    card = model_card(
        title=HOSTILE, model="a/b", description=f"text {HOSTILE}", facts={"hook | name": f"x\n{HOSTILE}"},
        load_code={"sae_lens": "print(1)\n```\n# out"}, license='mit"\nevil: true',
    )  # fmt: skip
    assert HOSTILE not in card
    assert card.startswith('---\nlibrary_name: saelens\nlicense: "mit  evil: true"\nbase_model: "a/b"\n')
    assert card.count("```") == 2
    assert "| hook \\| name | x \\<img src=x onerror=alert(1)\\> |" in card
    assert "base_model" not in model_card(title="x", model="not a repo")
