"""What every writer writes of every architecture is the same function when it is read, or refused: loaded weights in
bfloat16 and float16, and trained ones."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.errors import FormatError
from saewidgets.formats import formats, load_sae, save_sae
from saewidgets.render.labels import WRITTEN_FORMATS
from saewidgets.sae import SAE, inference_architectures, inference_sae
from tests.sae.cases import ALL, batch, loss_of, make, relative

WRITERS = [format.name for format in formats() if format.save is not None]
ARCHITECTURES = [name for name in inference_architectures() if name != "temporal"]
D_IN, D_SAE = 16, 1024  # a width that Gemma Scope has a name for
TOLERANCE = 1e-5
# What no writer takes would not be compared with anything; each pair here has to be written.
EXPECTED = {
    "saelens": {
        "standard", "gated", "topk", "abstopk", "jumprelu", "transcoder", "skip_transcoder", "jumprelu_transcoder",
        "jumprelu_skip_transcoder", "matching_pursuit", "skip",
    },
    "dictionary_learning": {"standard", "gated", "topk", "jumprelu"},
    "gemma_scope": {"jumprelu", "jumprelu_transcoder"},
    "mistudio": set(ARCHITECTURES),
    "sparsify": {
        "topk", "abstopk", "groupmax", "topk_transcoder", "topk_skip_transcoder", "groupmax_transcoder",
        "groupmax_skip_transcoder",
    },
}


def made(architecture: str, dtype: torch.dtype, *, centred: bool) -> SAE | None:
    """An SAE in general position whose weights are numbers of `dtype`; None where its input cannot be treated so."""
    if architecture.endswith("transcoder") and centred and not architecture.endswith("topk_skip_transcoder"):
        return None
    generator = torch.Generator().manual_seed(len(architecture))

    def normal(*shape: int) -> torch.Tensor:
        return 0.4 * torch.randn(*shape, generator=generator)

    tensors = {"W_dec": normal(D_SAE, D_IN), "b_dec": normal(D_IN)}
    if architecture != "matching_pursuit":
        tensors |= {"W_enc": normal(D_IN, D_SAE), "b_enc": normal(D_SAE)}
    else:
        tensors["W_dec"] /= tensors["W_dec"].norm(dim=1, keepdim=True)
    if architecture == "gated":
        del tensors["b_enc"]
        tensors |= {name: normal(D_SAE) for name in ("b_gate", "b_mag", "r_mag")}
    if architecture.startswith("jumprelu"):
        tensors["threshold"] = normal(D_SAE).abs()
    if "skip_" in architecture:
        tensors["W_skip"] = normal(D_IN, D_IN)
    settings: dict[str, Any] = {"apply_b_dec_to_input": centred}
    if "topk" in architecture or "groupmax" in architecture:
        settings["k"] = 8
    if architecture == "matching_pursuit":
        settings |= {"max_iterations": 8}
    return inference_sae(architecture, D_IN, {n: t.to(dtype) for n, t in tensors.items()}, **settings)


def saved(sae: SAE, folder: Path, writer: str) -> Path | None:
    """The folder it was written into; None where the format says that it cannot express it."""
    try:
        return save_sae(sae, folder, writer)
    except FormatError as error:
        said = str(error)
        assert any(words in said for words in ("cannot express this SAE: ", "SAELens has no architecture")), said
        assert not folder.exists()
        return None


def assert_same(first: SAE, again: SAE) -> None:
    """The same function: its weights are what was stored, its arithmetic is float32 for both."""
    x = torch.randn(64, D_IN, generator=torch.Generator().manual_seed(7))
    first, again = first.float(), again.float()
    f, g = first.encode(x), again.encode(x)
    y, z = first(x), again(x)
    assert float(f.abs().max()) > 0
    assert float((f - g).abs().max()) <= TOLERANCE * float(f.abs().max())
    assert float((y - z).abs().max()) <= TOLERANCE * float(y.abs().max())
    assert float((again.decode(f, x) - y).abs().max()) <= TOLERANCE * float(y.abs().max())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_written_saes_compute_the_same(architecture: str, tmp_path: Path) -> None:
    made_of = {
        centred: made(architecture, (torch.bfloat16, torch.float16)[centred], centred=centred)
        for centred in (True, False)
    }
    for writer in WRITERS:
        written = 0
        for centred, sae in made_of.items():
            if sae is None:
                continue
            transcoder = writer == "gemma_scope" and architecture.endswith("transcoder")
            repository = "gemma-scope-2b-pt-transcoders" if transcoder else "saes"
            folder = saved(sae, tmp_path / writer / repository / f"centred_{centred}", writer)
            if folder is not None:
                written += 1
                assert_same(copy.deepcopy(sae), load_sae(folder))
        assert (written > 0) == (architecture in EXPECTED[writer]), writer


def test_the_scale_of_embeddings_is_not_rounded(tmp_path: Path) -> None:
    sae = made("jumprelu", torch.bfloat16, centred=False)
    assert sae is not None
    folder = tmp_path / "gemma-scope-2b-pt-res" / "embedding" / "width_1k" / "average_l0_8"
    assert_same(sae, load_sae(save_sae(sae, folder, "gemma_scope")))


def test_temporal_weights_stay_short(tmp_path: Path) -> None:
    from tests.formats.samples import temporal

    sae = load_sae(temporal(tmp_path / "from"), dtype=torch.bfloat16)
    again = load_sae(save_sae(sae, tmp_path / "to"))
    assert sae.inference_tensors().keys() == again.inference_tensors().keys()
    assert all(torch.equal(tensor, again.inference_tensors()[name]) for name, tensor in sae.inference_tensors().items())


SPARSIFY = {"topk"}
GEMMA_SCOPE = {"jumprelu", "batchtopk", "matryoshka"}
DICTIONARY_LEARNING = {"standard", "topk", "batchtopk", "matryoshka", "jumprelu", "gated"}
WRITES = {
    "saelens": set(ALL), "mistudio": set(ALL), "gemma_scope": GEMMA_SCOPE, "sparsify": SPARSIFY,
    "dictionary_learning": DICTIONARY_LEARNING,
}  # fmt: skip


@pytest.mark.parametrize("format", WRITTEN_FORMATS)
@pytest.mark.parametrize("name", ALL)
def test_trained_saes_are_written_whole_or_refused(name: str, format: str, tmp_path: Path) -> None:
    sae = make(name, d_sae=1024, centred=False if format == "gemma_scope" else None)  # 1k: its folders are called so
    loss_of(sae, batch())  # sets thresholds that are running means
    sae.metadata = {"hook_name": "blocks.2.hook_resid_post", "model_name": "gpt2"}
    if name not in WRITES[format]:
        with pytest.raises(FormatError, match="cannot express"):
            save_sae(sae, tmp_path / "sae", format)
        assert not (tmp_path / "sae").exists()
        return
    saved = save_sae(sae, tmp_path / "sae", format)
    sae.eval()
    loaded = load_sae(saved)
    with torch.no_grad():
        assert relative(loaded.encode(batch()), sae.encode(batch())) < 1e-6
        assert relative(loaded(batch()), sae(batch())) < 1e-6
    assert loaded.d_out == sae.d_out
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    if format == "saelens" and name not in ("skip", "batchtopk", "matryoshka"):  # these come back as others
        assert (loaded.cfg, loaded.metadata["hook_name"]) == (sae.cfg, sae.metadata["hook_name"])
        assert torch.equal(loaded(batch()), sae(batch()))
