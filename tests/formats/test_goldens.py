"""What the real packages saved, and what they computed with it or with what is written here (tests/golden, which
tools/golden_*.py and tools/check_export_*.py made): the same is computed here, also after a conversion to SAELens."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from saewidgets.errors import FormatError
from saewidgets.formats import convert, describe, detect_format, load_sae, validate
from saewidgets.formats.saelens import SHIPPED
from tests.formats.weights import assert_close

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FORMATS = {  # folder of goldens → format, and what has to be among them
    "saelens": ("saelens", {"standard", "topk", "topk_rescaled", "jumprelu", "batchtopk_exported"}),
    "saelens_inference": ("saelens", set[str]()), "saelens_checkpoints": ("saelens", set[str]()),
    "saelens_legacy": ("saelens_legacy", set[str]()),
    "exports": ("saelens", {"standard", "topk", "jumprelu", "batchtopk"}),
    "sparsify": ("sparsify", {
        "topk", "expansion", "groupmax", "skip", "transcoder", "skip_transcoder", "groupmax_skip_transcoder",
    }),
    "dictionary_learning": ("dictionary_learning", {
        "standard", "april_update", "gated", "topk", "batchtopk", "batchtopk_unset", "matryoshka", "jumprelu", "backup",
    }),
    "dictionary_learning_exports": ("dictionary_learning", {"standard", "gated", "topk", "batchtopk", "jumprelu"}),
}  # fmt: skip
LOADERS = {  # repositories that sae-lens has loaders of their own for
    "Goodfire/Llama-3.1-8B-Instruct-SAE-l19": "goodfire", "Goodfire/Llama-3.3-70B-Instruct-SAE-l50": "goodfire",
    "qresearch/DeepSeek-R1-Distill-Llama-8B-SAE-l19": "deepseek_r1",
    "ckkissane/attn-saes-gpt2-small-all-layers": "connor_rob",
    "mwhanna/qwen3-4b-transcoders": "circuit_tracer", "mwhanna/qwen3-14b-transcoders-lowl0": "circuit_tracer",
    "canrager/temporalSAEs": "temporal", "canrager/temporalSAEs-untied": "temporal",
}
MODELS = {"gpt2-small": "gpt2", None: "google/gemma-2-2b"}  # what sae-lens calls otherwise, or does not say
SAES = sorted(
    path.parent.relative_to(GOLDEN).as_posix() for folder in FORMATS
    for path in (GOLDEN / folder).rglob("expected.safetensors")
)  # fmt: skip


def assert_as_recorded(path: Path, golden: Path, tolerance: float = 1e-5) -> None:
    recorded = load_file(golden / "expected.safetensors")
    x = recorded["x"] if "x" in recorded else load_file(golden / "ours.safetensors")["x"]
    sae = load_sae(path).float()
    f = sae.encode(x)
    assert (recorded["f"] != 0).any()
    assert tolerance > 1e-5 or torch.equal(f != 0, recorded["f"] != 0)
    assert_close(f.float().numpy(), recorded["f"].float().numpy(), tolerance)
    for y in (sae(x), sae.decode(f, x)):
        assert_close(y.float().numpy(), recorded["y"].float().numpy(), tolerance)


def test_no_golden_is_left_out() -> None:
    for folder, (_, names) in FORMATS.items():
        assert {name.split("/")[1] for name in SAES if name.split("/")[0] == folder} >= names
    loaders = GOLDEN / "saelens_loaders"
    assert {str(path.parent.relative_to(loaders)) for path in loaders.rglob("golden.json")} == set(LOADERS)
    architectures = {
        folder: {json.loads(path.read_text())["architecture"] for path in (GOLDEN / folder).glob(f"{names}/cfg.json")}
        for folder, names in (("saelens_inference", "*"), ("saelens_checkpoints", "*"), ("exports", "loaded_*"))
    }
    assert architectures["exports"] == architectures["saelens_inference"] == set(SHIPPED)
    assert architectures["saelens_checkpoints"] == {
        "standard", "gated", "topk", "abstopk", "jumprelu", "batchtopk", "matryoshka_batchtopk", "matching_pursuit",
    }


@pytest.mark.parametrize("name", SAES)
def test_results_match_those_of_the_package(name: str, tmp_path: Path) -> None:
    golden = GOLDEN / name
    format = FORMATS[name.split("/")[0]][0]
    tolerance = 2e-2 if "bfloat16" in name else 1e-5
    assert detect_format(golden) == format
    assert validate(golden) == []
    assert load_sae(golden).is_transcoder == ("transcoder" in name or name.startswith("exports/skip"))
    assert_as_recorded(golden, golden, tolerance)
    if describe(golden).architecture not in (*SHIPPED, "skip"):
        with pytest.raises(FormatError, match="no architecture"):
            convert(golden, tmp_path / "again")
        return
    written = convert(golden, tmp_path / "again")
    assert detect_format(written) == "saelens"
    assert_as_recorded(written, golden, tolerance)
    first, again = load_sae(golden), load_sae(written)
    assert (type(again), again.cfg) == (type(first), first.cfg)
    for key, tensor in first.inference_tensors().items():
        assert torch.equal(tensor, again.inference_tensors()[key]), key
    metadata = json.loads((written / "cfg.json").read_text())["metadata"]
    assert metadata["sae_lens_version"] == "6.54.12"


@pytest.mark.parametrize(("repo", "format"), LOADERS.items())
def test_repositories_that_sae_lens_loads(repo: str, format: str, tmp_path: Path) -> None:
    """Also from the cache of the hub, where downloads lie in ``models--owner--name/snapshots/{commit}``, as links."""
    golden = GOLDEN / "saelens_loaders" / repo
    facts = json.loads((golden / "golden.json").read_text())
    path = golden / facts["path"]
    assert detect_format(path) == format
    assert_as_recorded(path, golden)
    home = tmp_path / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / ("0" * 40)
    shutil.copytree(golden, snapshot)
    (home / "blobs").mkdir()
    for i, file in enumerate(sorted(file for file in snapshot.rglob("*") if file.is_file())):
        file.rename(home / "blobs" / str(i))
        file.symlink_to(home / "blobs" / str(i))
    for place in (path, snapshot / facts["path"]):
        found = describe(place)
        assert (found.hook_name, found.model) == (facts["hook_name"], MODELS.get(facts["model"], facts["model"]))
        assert found.dtype == ("bfloat16" if "70B" in repo else "float32")
        assert load_sae(place).metadata["hook_name"] == facts["hook_name"]
    assert validate(path) == []
