"""`ws.hub`: looking, publishing, names. The hub itself is tested in tests/hub."""

import json
from pathlib import Path
from typing import Any

import pytest

from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.workspace import Workspace
from tests.hub.server import Hub
from tests.workspace.conftest import PATIENCE
from tests.workspace.hub import READER, SAELENS, WRITER, cache, repositories, server  # noqa: F401 - fixtures
from tests.workspace.library.saes import contents, saelens

SCOPE = "google/gemma-scope-2b-pt-res"


def test_looking(ws: Workspace, server: Hub) -> None:  # noqa: F811 - the fixture
    assert ws.hub.facets(SCOPE, layer=12)["width"] == {"16k": 5, "65k": 1}
    server.forget()
    with pytest.raises(ConfigError, match=r"no facet 'foo'.*site, layer, width, l0") as refused:
        ws.hub.facets(SCOPE, foo=1)
    assert refused.value.where == "foo"
    assert not server.requests(), "a word that nobody knows asks nobody"
    canonical = "gemma-scope-2b-pt-res-canonical"
    assert ws.hub.preview(canonical, "layer_12/width_16k/average_l0_41").path.endswith("_41"), "a folder is a folder"
    server.forget()
    assert ws.hub.preview(SCOPE, "layer_12/width_16k/average_l0_82").d_sae == 16_384
    assert not server.requests("/tree/"), "the listing is kept"
    ws.hub.refresh(SCOPE)
    ws.hub.variants(SCOPE)
    assert server.requests("/tree/")
    with pytest.raises(NotFoundError):
        ws.hub.download("lab/none-such")
    assert not ws.hub.downloads(), "what cannot be found is no job"


def test_only_downloads_are_resumed_here(ws: Workspace) -> None:
    ws.catalog.jobs.add("job_1", kind="training", lane="box/cpu", payload={}, owner="me@far")
    for job_id in ("job_1", "job_2"):
        with pytest.raises(NotFoundError, match=job_id):
            ws.hub.resume(job_id)
    assert not ws.hub.downloads()


def test_known_and_account(ws: Workspace, server: Hub) -> None:  # noqa: F811
    assert SCOPE in {known.repo_id for known in ws.hub.known()}
    assert ws.hub.account() is None
    assert ws.hub.account(READER) == "reader"
    assert ws.hub.client(READER) is ws.hub.client(READER)
    for i in range(6):
        ws.hub.client(f"hf_{i}")
    assert len(ws.hub._clients) == 4


def test_publishing(ws: Workspace, server: Hub, tmp_path: Path) -> None:  # noqa: F811
    sae = ws.saes.add_local(saelens(tmp_path / "mine"))
    with pytest.raises(SAEWidgetsError, match="Nobody is signed in"):
        ws.saes.push_to_hub(sae.id, "writer/saes")
    with pytest.raises(SAEWidgetsError):
        ws.saes.push_to_hub(sae.id, "writer/saes", token=READER)
    url = ws.saes.push_to_hub(sae.id, "writer/saes", token=WRITER, path="layer_6", license="mit")
    assert url.startswith(f"{server.endpoint}/writer/saes")
    repo = server.state.repos["writer/saes"]
    assert repo.private
    mine = {name: data for name, data in contents(Path(sae.path)).items() if name != "origin.json"}
    assert {name: data for name, data in repo.files.items() if name.startswith("layer_6/")} == {
        f"layer_6/{name}": data for name, data in mine.items()
    }
    card = repo.files["README.md"].decode()
    assert 'license: "mit"' in card
    assert r"d\_sae 32" in card
    assert 'base_model: "openai-community/gpt2"' in card
    assert "from_pretrained" in card
    assert str(ws.folder) not in card + "".join(repo.files)
    assert str(tmp_path).encode() not in b"".join(repo.files.values())
    job = ws.hub.download("writer/saes", token=WRITER)
    assert contents(Path(ws.saes.get(job.result(PATIENCE)).path)) == mine


def test_no_path_of_this_machine_is_published(ws: Workspace, server: Hub, tmp_path: Path) -> None:  # noqa: F811
    model = str(tmp_path / "models" / "mine")
    source = saelens(tmp_path / "sae") / "cfg.json"
    source.write_text(source.read_text("utf-8").replace('"gpt2"', json.dumps(model)), "utf-8")
    sae = ws.saes.add_local(source.parent)
    assert sae.model == model
    with pytest.raises(ConfigError, match=r"base_model: The model of sae is a folder.*, mine\. Give the id"):
        ws.saes.push_to_hub(sae, "writer/base", token=WRITER)
    with pytest.raises(ConfigError, match=r"base_model: This is not the name of a repository"):
        ws.saes.model_card(sae, "writer/base", base_model=model)
    about: dict[str, Any] = {"license": "mit", "base_model": "openai-community/gpt2"}
    card = ws.saes.model_card(sae, "writer/base", **about)
    assert 'license: "mit"\nbase_model: "openai-community/gpt2"' in card
    ws.saes.push_to_hub(sae, "writer/base", token=WRITER, card=card + "Edited.", **about)
    files = server.state.repos["writer/base"].files
    assert files["README.md"].decode() == card + "Edited."
    assert b'"model_name": "openai-community/gpt2"' in files["cfg.json"]
    ws.saes.push_to_hub(sae, "writer/base", token=WRITER, card="Edited again.", base_model="")
    files = server.state.repos["writer/base"].files
    assert files["README.md"] == b"Edited again."
    assert b'"model_name": "mine"' in files["cfg.json"]
    assert "| Model | mine |" in ws.saes.model_card(sae, "writer/base", base_model="")
    exported = [ws.saes.export(sae, tmp_path / format, format) for format in ("saelens", "sparsify")]
    shown = [*files.values(), *(file.read_bytes() for folder in exported for file in folder.iterdir())]
    assert not [text for text in shown if str(tmp_path).encode() in text]
    assert ws.saes.get(sae).state == "ok"
    assert model in Path(sae.path, "cfg.json").read_text("utf-8")  # the library still knows where it is


def test_the_card_of_a_download_names_its_source(ws: Workspace, server: Hub) -> None:  # noqa: F811
    path = "blocks.1.hook_resid_pre"
    sae = ws.saes.get(ws.hub.download(SAELENS, path).result(PATIENCE))
    ws.saes.push_to_hub(sae.id, "writer/again", token=WRITER, license="apache-2.0")
    card = server.state.repos["writer/again"].files["README.md"].decode()
    assert 'base_model: "openai-community/gpt2"' in card
    assert f"({server.endpoint}/{SAELENS}/tree/{sae.revision}/{path})" in card
    assert "files are those of the source" in card
    assert "licence of the source is mit; this repository was given apache-2.0." in card
    place = "layer_12/width_16k/average_l0_82"
    scope = ws.saes.get(ws.hub.download(SCOPE, place).result(PATIENCE))
    ws.saes.push_to_hub(scope.id, "writer/scope", token=WRITER)
    card = server.state.repos["writer/scope"].files["README.md"].decode()
    assert f"({server.endpoint}/{SCOPE}/tree/{scope.revision}/{place})" in card
    assert r"saelens, converted from gemma\_scope with saewidgets" in card
    assert 'base_model: "google/gemma-2-2b"' in card
    assert str(ws.folder) not in card
