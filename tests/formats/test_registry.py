"""Detection: a folder, a file of it, a folder around one SAE; and what is neither."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
from saewidgets.formats import convert, describe, detect_format, formats, load_sae, save_sae, validate
from saewidgets.formats.registry import find_all, get
from saewidgets.formats.source import MAX_FILES, FolderSource
from saewidgets.sae import create_sae
from tests.formats.samples import D_IN, D_SAE, SAMPLES

every = pytest.mark.parametrize("name", SAMPLES)


def made(name: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return SAMPLES[name](folder)


@every
def test_each_format_is_distinguished_from_the_others(name: str, tmp_path: Path) -> None:
    """By its folder, by any file of it, and by a folder around it that holds no other SAE."""
    path = made(name, tmp_path / "runs" / "first")
    (tmp_path / "README.md").write_text("notes")
    assert next(format.name for format in formats() if format.matches(FolderSource(path))) == name
    for place in (path, str(path), tmp_path, *(file for file in (tmp_path / "runs").rglob("*") if file.is_file())):
        assert detect_format(place) == name, place
    assert load_sae(tmp_path).d_in == load_sae(path).d_in


@every
def test_describe_matches_load(name: str, tmp_path: Path) -> None:
    path = made(name, tmp_path)
    about, sae = describe(path), load_sae(path)
    assert (about.format, about.d_in, about.d_sae, about.d_out) == (name, sae.d_in, sae.d_sae, sae.d_out)
    assert about.architecture == sae.cfg.architecture
    assert about.dtype == "float32"
    home = path if path.is_dir() else path.parent
    assert about.size_bytes == sum((home / file).stat().st_size for file in about.files)
    settings = sae.cfg.model_dump()
    assert {key: settings[key] for key in about.settings} == dict(about.settings)
    assert validate(path) == []
    json.dumps(dict(about.config))


def test_several_saes_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        made("saelens", tmp_path / name)
    with pytest.raises(FormatError, match="holds 2 SAEs: a, b"):
        load_sae(tmp_path)
    made("qwen_scope", tmp_path / "c")
    found = {(path, format.name) for path, format in find_all(FolderSource(tmp_path))}
    assert found == {
        ("a", "saelens"), ("b", "saelens"), ("c/SAE-Res-Qwen3-1.7B-Base-W1K-L0_4/layer3.sae.pt", "qwen_scope"),
    }


def test_single_files_side_by_side(tmp_path: Path) -> None:
    path = made("ghosttrack", tmp_path)
    shutil.copyfile(path, tmp_path / "sae_layer_4_best.pt")
    with pytest.raises(FormatError, match=r"2 SAEs: sae_layer_3_best\.pt, sae_layer_4_best\.pt"):
        load_sae(tmp_path)
    assert load_sae(path).d_in == D_IN


def test_an_sae_below_an_sae_is_a_part_of_it(tmp_path: Path) -> None:
    made("saelens", tmp_path)
    made("saelens", tmp_path / "checkpoints" / "100")
    assert [path for path, _ in find_all(FolderSource(tmp_path))] == [""]


def test_unknown_formats_are_named() -> None:
    assert get("saelens").title == "SAELens"
    with pytest.raises(ConfigError, match=r"'gguf'.*saelens"):
        get("gguf")


def test_missing_files_are_not_found(tmp_path: Path) -> None:
    for path in (tmp_path / "none", "x" * 5000, "a\0b"):
        with pytest.raises(NotFoundError):
            detect_format(path)
    assert "no such file" in validate(tmp_path / "none")[0]


def test_validate_names_the_damaged_file(tmp_path: Path) -> None:
    folder = made("saelens", tmp_path / "sae")
    (folder / "sae_weights.safetensors").write_bytes(b"short")
    assert len(validate(folder)) == 1
    assert "sae_weights.safetensors" in validate(folder)[0]


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    outside = made("saelens", tmp_path / "outside")
    inside = tmp_path / "inside"
    inside.mkdir()
    for name in ("cfg.json", "sae_weights.safetensors"):
        (inside / name).symlink_to(outside / name)
    (inside / "folder").symlink_to(outside)
    assert FolderSource(inside).files() == {}
    with pytest.raises(FormatError, match="holds nothing"):
        load_sae(inside)
    for name in ("cfg.json", "../outside/cfg.json", "folder/cfg.json"):
        with pytest.raises(StorageError, match="leads out"):
            FolderSource(inside).read(name)


def test_the_cache_of_the_hub_is_followed_into_its_blobs(tmp_path: Path) -> None:
    repo = tmp_path / "models--owner--name"
    snapshot = repo / "snapshots" / ("0" * 40) / "layer_3"
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    for path in made("saelens", tmp_path / "plain").iterdir():
        shutil.copyfile(path, repo / "blobs" / f"hash-of-{path.name}")
        (snapshot / path.name).symlink_to(Path("../../../blobs") / f"hash-of-{path.name}")
    assert load_sae(snapshot).d_sae == D_SAE
    assert detect_format(snapshot.parent) == "saelens"
    (snapshot / "cfg.json").unlink()
    (snapshot / "cfg.json").symlink_to(tmp_path / "plain" / "cfg.json")
    with pytest.raises(FormatError):
        load_sae(snapshot)


def test_a_folder_with_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saewidgets.formats.source.MAX_FILES", 5)
    assert MAX_FILES > 5
    for i in range(6):
        (tmp_path / f"{i}").touch()
    with pytest.raises(FormatError, match="more than 5 files"):
        detect_format(tmp_path)
    path = made("ghosttrack", tmp_path / "one")
    shutil.move(path, tmp_path / path.name)
    assert detect_format(tmp_path / path.name) == "ghosttrack"  # a crowded folder does not matter to a single file


INEXPRESSIBLE = {
    "saelens_legacy": " normalises", "openai": " normalises", "connor_rob": " normalises or reshapes",
    "circuit_tracer": "s architecture is transcoder", "temporal": "s architecture is temporal",
}


@every
def test_every_format_becomes_another_or_says_why_not(name: str, tmp_path: Path) -> None:
    path = made(name, tmp_path / "sae")
    first = load_sae(path)
    written = convert(path, tmp_path / "saelens")
    again = load_sae(written)
    assert detect_format(written) == "saelens"
    assert again.cfg.model_dump() == first.cfg.model_dump()
    for key, tensor in first.inference_tensors().items():
        assert (tensor == again.inference_tensors()[key]).all(), key
    assert again.metadata["converted_from"] == name
    for key in ("model_name", "hook_name"):
        assert again.metadata.get(key) == first.metadata.get(key)
    if name in INEXPRESSIBLE:
        with pytest.raises(FormatError, match=f"cannot express this SAE: it{INEXPRESSIBLE[name]}"):
            convert(path, tmp_path / "to", "dictionary_learning")
        assert not (tmp_path / "to").exists()
        return
    x = torch.randn(16, first.d_in)
    again = load_sae(convert(path, tmp_path / "to", "dictionary_learning"))
    assert torch.allclose(again.encode(x), first.encode(x), atol=1e-4)
    assert torch.allclose(again(x), first(x), atol=1e-4)


def test_a_folder_is_not_converted_into_itself(tmp_path: Path) -> None:
    path = made("saelens_legacy", tmp_path / "sae")
    with pytest.raises(FormatError, match="same folder"):
        convert(path, path)


WRITTEN = [f.name for f in formats() if f.save is not None]


@pytest.mark.parametrize("there", [name for name in WRITTEN if name != "gemma_scope"])
def test_only_an_sae_in_the_same_format_is_replaced(there: str, tmp_path: Path) -> None:
    first, second = (create_sae("topk", 8, d_sae=16, k=k) for k in (2, 3))
    folder = save_sae(first, tmp_path / "sae", there)
    new = save_sae(second, tmp_path / "new")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for format in WRITTEN:
        if format in (there, "gemma_scope"):
            continue
        for write_it, sae in ((convert, new), (save_sae, second)):
            said = f"an SAE in the format {there}; only one in the same.*{format}.*delete"
            with pytest.raises(StorageError, match=said):
                write_it(sae, folder, format)  # type: ignore[operator]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "sae"]
    assert load_sae(convert(new, folder, there)).cfg.model_dump()["k"] == 3


@pytest.mark.parametrize("format", WRITTEN)
def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, format: str) -> None:
    for name, value in (("W_dec", float("nan")), ("b_enc", -float("inf"))):
        sae = create_sae("topk", 8, d_sae=16, k=2)
        with torch.no_grad():
            sae.get_parameter(name).view(-1)[3] = value
        with pytest.raises(FormatError, match=rf"{name}: It contains NaN or infinity.*Nothing was written"):
            save_sae(sae, tmp_path / "out", format)
    assert list(tmp_path.iterdir()) == []
