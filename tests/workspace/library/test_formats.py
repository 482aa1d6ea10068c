"""Every known format comes in, computes what it did, and says what it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saewidgets.errors import FormatError
from saewidgets.formats import load_sae
from saewidgets.workspace import Workspace
from tests.formats.samples import D_IN, D_SAE, SAMPLES, rand
from tests.workspace.library.saes import contents


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_it_computes_the_same_in_the_library(ws: Workspace, tmp_path: Path, name: str) -> None:
    path = SAMPLES[name](tmp_path)
    record = ws.saes.add_local(path)
    before, after = load_sae(path), ws.saes.load(record.id)
    x = torch.randn(2, 4, D_IN, generator=torch.Generator().manual_seed(0))  # some read whole contexts
    assert type(after) is type(before)
    assert torch.allclose(after(x), before(x), rtol=1e-6, atol=1e-6)
    assert torch.allclose(after.encode(x), before.encode(x), rtol=1e-6, atol=1e-6)
    assert (record.metadata["origin"]["format"], record.state) == (name, "ok")
    assert (record.d_in, record.d_sae) == (before.d_in, before.d_sae)
    assert (record.format == "saelens") == ("kept" not in record.metadata["origin"])
    assert isinstance(ws.saes.config(record.id), dict)
    found = ws.saes.statistics(record.id)
    assert sum(found["decoder_norms"]["counts"]) == record.d_sae
    json.dumps(found, allow_nan=False)


def _skip_transcoder(folder: Path) -> Path:
    """What sparsify trains and SAELens has no class for: top-k and a linear path beside it."""
    folder.mkdir(parents=True)
    config = {"activation": "topk", "expansion_factor": 2, "num_latents": 0, "k": 4, "d_in": D_IN, "transcode": True,
              "skip_connection": True}  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))
    tensors = {"encoder.weight": rand(D_SAE, D_IN), "encoder.bias": rand(D_SAE), "W_dec": rand(D_SAE, D_IN),
               "b_dec": rand(D_IN), "W_skip": rand(D_IN, D_IN)}  # fmt: skip
    save_file(tensors, folder / "sae.safetensors")
    return folder


def test_what_saelens_cannot_express_is_kept_as_it_came(ws: Workspace, tmp_path: Path) -> None:
    folder = _skip_transcoder(tmp_path / "layers.3.mlp")
    record = ws.saes.add_local(folder)
    assert (record.format, record.architecture) == ("sparsify", "topk_skip_transcoder")
    assert "SAELens has no architecture" in record.metadata["origin"]["kept"]
    assert contents(Path(record.path)) == contents(folder)
    x = torch.randn(4, D_IN)
    assert torch.equal(ws.saes.load(record.id)(x), load_sae(folder)(x))
    assert ws.saes.load_code(record.id)["sae_lens"] == ""
    with pytest.raises(FormatError, match="no architecture"):
        ws.saes.export(record.id, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert contents(ws.saes.export(record.id, tmp_path / "same", "sparsify")) == contents(folder)
    assert [r.id for r in ws.saes.list(format="sparsify")] == [record.id]


def test_what_lies_beside_a_file_goes_along_where_it_is_kept_as_it_came(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Path:
        raise FormatError("SAELens cannot say this.")

    path = SAMPLES["circuit_tracer"](tmp_path)
    (path.parent / "layer_4.safetensors").write_bytes(b"another")
    monkeypatch.setattr("saewidgets.formats.save_sae", refuse)
    record = ws.saes.add_local(path)
    assert (record.format, record.metadata["origin"]["kept"]) == ("circuit_tracer", "SAELens cannot say this.")
    assert sorted(contents(Path(record.path))) == ["config.yaml", "layer_3.safetensors"]
    assert ws.saes.load(record.id).metadata["hook_name_out"] == "blocks.3.hook_mlp_out"
    assert record.state == "ok"
