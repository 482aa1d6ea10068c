from collections.abc import Callable

import pytest

from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import HubError, RepositoryNotFoundError, RevisionNotFoundError, WrongRepositoryTypeError
from saewidgets.hub.reference import parse_reference
from saewidgets.hub.repository import list_repository, repo_info
from tests.hub.repos import HOSTILE
from tests.hub.server import TOKENS, Hub

READER, _ = TOKENS
SAELENS = "jbloom/GPT2-Small-SAEs-Reformatted"
Make = Callable[..., HubClient]


def test_a_repository_as_its_card_and_files_say(hub: Hub, client: HubClient) -> None:
    info = repo_info(SAELENS, client=client)
    repo = hub.state.repos[SAELENS]
    assert (info.repo_id, info.revision, info.license) == (SAELENS, repo.branches["main"], "mit")
    assert (info.private, info.gated, info.library) == (False, False, "saelens")
    assert info.base_models == ("openai-community/gpt2",)
    assert info.files == len(repo.files)
    assert info.size_bytes == sum(map(len, repo.files.values()))
    assert info.url == f"{hub.endpoint}/{SAELENS}"
    assert info.last_modified == 1741953600.0
    assert (info.downloads, info.likes) == (1234, 5)


def test_pages_are_followed(hub: Hub, client: HubClient) -> None:
    hub.state.page = 3
    listing = list_repository(parse_reference(SAELENS), client)
    assert set(listing.files) == set(hub.state.repos[SAELENS].files)
    assert len(hub.requests("/tree/")) == -(-len(listing.files) // 3)


def test_a_missing_revision_is_an_error(client: HubClient) -> None:
    with pytest.raises(RevisionNotFoundError, match="no such revision"):
        repo_info(f"{SAELENS}@nowhere", client=client)


@pytest.mark.parametrize(("name", "kind"), [("lab/texts", "dataset"), ("lab/app", "Space")])
def test_another_type_of_repository_is_named(client: HubClient, name: str, kind: str) -> None:
    with pytest.raises(WrongRepositoryTypeError, match=kind):
        repo_info(name, client=client)


def test_the_nearest_known_name_is_suggested(client: HubClient) -> None:
    with pytest.raises(RepositoryNotFoundError) as error:
        repo_info("jbloom/GPT2-Small-SAE-Reformated", client=client)
    assert error.value.suggestions[0] == SAELENS
    assert SAELENS in str(error.value)


@pytest.mark.parametrize("name", ["lab/gated-sae", "somebody/Gated-SAEs"])
def test_a_near_name_is_looked_for_on_the_hub(hub: Hub, client: HubClient, name: str) -> None:
    with pytest.raises(RepositoryNotFoundError) as error:
        repo_info(name, client=client)
    assert error.value.suggestions[0] == "lab/gated-saes"
    hub.fail("/api/models$", "status", 500)
    with pytest.raises(RepositoryNotFoundError) as error:
        repo_info(name, client=client)
    assert error.value.suggestions == ()


def test_a_gated_repository_can_be_looked_at(hub: Hub, client_of: Make) -> None:
    assert repo_info("lab/gated-saes", client=client_of()).gated == "auto"
    hub.fail("/tree/", "status", 403, message="Access to this gated repo is restricted")
    info = repo_info("lab/gated-saes", client=client_of())
    assert (info.gated, info.files) == ("auto", 0)


def test_names_that_lead_elsewhere_are_not_listed(hub: Hub, client: HubClient) -> None:
    listing = list_repository(parse_reference("lab/hostile"), client)
    assert set(listing.files) == set(hub.state.repos["lab/hostile"].files)
    assert f"{HOSTILE}/cfg.json" in listing.files  # odd, but a name
    assert listing.info.license == HOSTILE


@pytest.mark.parametrize("answer", [b"[]", b"{}", b'{"sha": "zz"}', b'"text"', b"[1, 2]", b"null", b'{"sha": 5}'])
def test_answers_that_describe_no_repository(
    hub: Hub, client: HubClient, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr("tests.hub.server.Handler._info", lambda self, *_: self._send(200, answer, {}))
    with pytest.raises(HubError):
        repo_info(SAELENS, client=client)


@pytest.mark.parametrize(
    "answer",
    [b"{}", b"null", b"5", b'[{"type":"file"}]', b'[5, null, {"type": "file", "path": 5, "size": -1, "oid": []}]',
     b'[{"type":"file","path":"a","size":"1","oid":"x"}]', b'[{"type":"file","path":"../a","size":1,"oid":"%s"}]',
     b'[{"type":"file","path":"a","size":1,"oid":"0000000000000000000000000000000000000000","lfs":{"oid":1}}]'],
)  # fmt: skip
def test_listings_of_nonsense_list_nothing(
    hub: Hub, client: HubClient, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr("tests.hub.server.Handler._tree", lambda self, *_: self._send(200, answer, {}))
    try:
        files = list_repository(parse_reference(SAELENS), client).files
    except HubError:
        files = {}
    assert files == {}
