"""SAEs brought in from this machine, in every shape a person may have them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from saewidgets.errors import ConfigError, FormatError, NotFoundError, SAEWidgetsError
from saewidgets.workspace import Workspace
from tests.workspace.library.saes import HOOK, MODEL, contents, saelens, with_density, zipped


def _left(ws: Workspace) -> list[str]:
    """What lies in the library's folder."""
    folder = ws.folder / "saes"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_saelens_folder_is_kept_byte_by_byte(ws: Workspace, tmp_path: Path) -> None:
    folder = with_density(saelens(tmp_path / "my-sae"), np.full(32, -3.0))
    (folder / "something_else.bin").write_bytes(b"not part of it")
    sae = ws.saes.add_local(folder)
    assert (sae.name, sae.source, sae.format, sae.architecture) == ("my-sae", "local", "saelens", "topk")
    assert (sae.d_in, sae.d_sae, sae.d_out, sae.dtype) == (8, 32, 8, "float32")
    assert (sae.model, sae.hook_name, sae.layer, sae.state) == ("openai-community/gpt2", HOOK, 6, "ok")
    assert sae.metadata["origin"] == {"format": "saelens", "where": str(folder), "model": MODEL}
    assert (sae.metadata["settings"]["k"], sae.metadata["l0"]) == (4, 4.0)
    before = contents(folder)
    del before["something_else.bin"]
    assert contents(Path(sae.path)) == before
    assert Path(sae.path).is_relative_to(ws.folder)


@pytest.mark.parametrize("architecture", ["standard", "skip"])
def test_what_the_files_leave_open_is_answered_once(ws: Workspace, tmp_path: Path, architecture: str) -> None:
    """Skip SAEs with normalised activations are kept as they came: SAELens has no such thing."""
    from saewidgets.formats import save_sae
    from saewidgets.sae import create_sae

    made = create_sae(architecture, 8, d_sae=24, normalize_activations="constant_norm_rescale")
    folder = save_sae(made, tmp_path / "sae", "mistudio")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"apply_b_dec_to_input": None}))
    with pytest.raises(FormatError, match="apply_b_dec_to_input"):
        ws.saes.add_local(folder)
    sae = ws.saes.add_local(folder, apply_b_dec_to_input=True)
    assert sae.format == ("mistudio" if architecture == "skip" else "saelens")
    assert ws.saes.load(sae.id).cfg.apply_b_dec_to_input is True
    with pytest.raises(ConfigError, match="apply_b_dec_to_input"):
        ws.saes.add_local(folder, apply_b_dec_to_input="yes")  # type: ignore[arg-type]


def test_an_archive(ws: Workspace, tmp_path: Path) -> None:
    files = contents(saelens(tmp_path / "sae"), "wrapped/")
    sae = ws.saes.add_local(zipped(tmp_path / "shared.ZIP", files))
    assert (sae.name, sae.d_sae) == ("shared", 32)
    assert sae.metadata["origin"]["where"] == str(tmp_path / "shared.ZIP")
    assert _left(ws) == [sae.id]


def test_uploads(ws: Workspace, tmp_path: Path) -> None:
    files = contents(saelens(tmp_path / "sae"))
    sae = ws.saes.add_upload(files, name="sent")
    assert (sae.name, sae.source, sae.metadata["origin"]["where"]) == ("sent", "local", "upload")
    chosen = ws.saes.add_upload({f"a folder/{name}": data for name, data in files.items()})
    assert chosen.name == "a folder"
    mixed = {name: tmp_path / "sae" / name for name in files}
    assert ws.saes.add_upload(mixed).name == "upload"
    packed = zipped(tmp_path / "x.zip", files).read_bytes()
    assert ws.saes.add_upload({"lab run.zip": packed}).name == "lab run"
    assert len(_left(ws)) == len(ws.saes.list()) == 4
    assert contents(tmp_path / "sae") == files, "what was sent as a path is still there"


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({}, ConfigError),
        ({"../cfg.json": b"{}"}, FormatError),
        ({"/etc/cfg.json": b"{}"}, FormatError),
        ({"cfg.json": b"{}", "CFG.JSON": b"{}"}, FormatError),
        ({"cfg.json": b"{}"}, FormatError),
        ({"x.zip": b"no archive"}, FormatError),
        ({"cfg.json": "/nowhere/cfg.json"}, NotFoundError),
        ({f"f{i}": b"" for i in range(1001)}, FormatError),
    ],
)
def test_uploads_that_are_refused_leave_nothing(ws: Workspace, files: dict[str, bytes], error: type[Exception]) -> None:
    with pytest.raises(error):
        ws.saes.add_upload(files)
    assert _left(ws) == []
    assert not ws.saes.list()


def test_damaged_files_are_never_listed(ws: Workspace, tmp_path: Path) -> None:
    folder = saelens(tmp_path / "sae")
    good = (folder / "sae_weights.safetensors").read_bytes()
    config = json.loads((folder / "cfg.json").read_text())
    nan = bytearray(good)
    nan[-4:] = np.float32("nan").tobytes()
    cases = {
        "cut": (good[:-8], config),
        "nan": (bytes(nan), config),
        "wide": (good, {**config, "d_in": 9}),
        "huge": (good, {**config, "d_sae": 2**40}),
        "none": (b"", config),
        "pickle": (b"\x80\x04cposix\nsystem\n.", config),
    }
    for data, settings in cases.values():
        (folder / "sae_weights.safetensors").write_bytes(data)
        (folder / "cfg.json").write_text(json.dumps(settings))
        with pytest.raises(SAEWidgetsError):
            ws.saes.add_local(folder)
        assert not ws.saes.list()
        assert _left(ws) == []


def test_links_out_of_the_folder_are_not_followed(ws: Workspace, tmp_path: Path) -> None:
    folder = saelens(tmp_path / "sae")
    real = shutil.move(folder / "sae_weights.safetensors", tmp_path / "elsewhere.safetensors")
    (folder / "sae_weights.safetensors").symlink_to(real)
    with pytest.raises(SAEWidgetsError):
        ws.saes.add_local(folder)
    assert _left(ws) == []


def test_hostile_names_are_text(ws: Workspace, tmp_path: Path) -> None:
    folder = saelens(tmp_path / "sae")
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"]["model_name"] = "<img src=x onerror=alert(1)>"
    (folder / "cfg.json").write_text(json.dumps(config))
    sae = ws.saes.add_local(folder, name="<b>bold</b>")
    assert (sae.name, sae.model) == ("<b>bold</b>", "<img src=x onerror=alert(1)>")
    assert "<b>" not in ws.saes.list()._repr_html_()
    with pytest.raises(ConfigError, match="1 to 120"):
        ws.saes.add_local(folder, name="x" * 121)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a/readme.txt": b"x", "b/x": b""}, "known format"),
        ({"cfg.json": b"{", "sae_weights.safetensors": b"x"}, "cfg.json"),
        ({"cfg.json": b"{}", "sae.safetensors": b"x" * 9}, "d_in"),
    ],
)  # fmt: skip
def test_errors_name_the_given_path_not_the_draft(
    ws: Workspace, tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    packed = zipped(tmp_path / "from lab.zip", files)
    given: dict[str, Callable[[], object]] = {
        str(packed): lambda: ws.saes.add_local(packed),
        "upload|cfg.json": lambda: ws.saes.add_upload(files),
        "from lab.zip": lambda: ws.saes.add_upload({"from lab.zip": packed.read_bytes()}),
    }
    for name, add in given.items():
        with pytest.raises(FormatError, match=said) as caught:
            add()
        assert ".incoming-" not in str(caught.value)
        assert str(ws.folder) not in str(caught.value)
        assert any(word in str(caught.value.where) for word in name.split("|"))


def test_several_in_an_archive_are_to_be_unpacked(ws: Workspace, tmp_path: Path) -> None:
    files = contents(saelens(tmp_path / "sae"), "one/") | contents(saelens(tmp_path / "sae"), "two/")
    packed = zipped(tmp_path / "both.zip", files)
    said = r"This archive holds 2 SAEs: one, two\. Unpack it, and add the folder of each of them by itself\."
    with pytest.raises(FormatError, match=rf"both\.zip: {said}"):
        ws.saes.add_local(packed)
    with pytest.raises(FormatError, match=said):
        ws.saes.add_upload({"both.zip": packed.read_bytes()})
    with pytest.raises(FormatError, match=r"upload: This upload holds 2 SAEs: one, two\. Add the folder of each"):
        ws.saes.add_upload(files)
    assert _left(ws) == []


def test_a_model_is_listed_under_one_name(ws: Workspace, tmp_path: Path) -> None:
    folder = saelens(tmp_path / "one")
    hub = "openai-community/gpt2"
    added = ws.saes.add_local(folder, model="gpt2-small")
    sent = ws.saes.add_upload({f"two/{name}": data for name, data in contents(folder).items()})
    own = ws.saes.add_local(folder, model="lab/own", name="own")
    assert [sae.model for sae in (added, sent, own)] == [hub, hub, "lab/own"]
    assert added.metadata["origin"]["model"] == "gpt2-small"
    assert sent.metadata["origin"]["model"] == MODEL
    assert "model" not in own.metadata["origin"]
    old = ws.saes.add_local(folder, name="old")
    ws.catalog.saes.update(old.id, model="gpt2-small")  # a row of an earlier version
    assert ws.saes.facets()["model"] == {hub: 3, "lab/own": 1}
    for name in ("gpt2", "gpt2-small", hub):
        assert {sae.id for sae in ws.saes.list(model=name)} == {added.id, sent.id, old.id}
        assert ws.saes.count(model=name)[0] == 3
        assert ws.saes.facets(model=name)["model"] == {hub: 3, "lab/own": 1}
        assert ws.saes.facets(model=name)["architecture"] == {"topk": 3}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hook_name", "blocks.99999999999999999999.hook_resid_pre"), ("hook_name", "\ud800"),
        ("model_name", "a\ud800b"), ("dataset_path", "\udfff"), ("l0", 10**400),
    ],
)
def test_odd_values_of_a_configuration_stop_nothing(key: str, value: object, ws: Workspace, tmp_path: Path) -> None:
    folder = saelens(tmp_path / "sae")
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"][key] = value
    (folder / "cfg.json").write_text(json.dumps(config))
    sae = ws.saes.add_local(folder)
    assert ws.saes.statistics(sae.id)["decoder_norms"]["mean"] > 0
    assert len(ws.saes.to_df(search=sae.name)) == 1
