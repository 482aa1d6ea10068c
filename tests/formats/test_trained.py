"""Every architecture that can be trained, in every format that can be written: the same function, or a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saewidgets.errors import FormatError
from saewidgets.formats import load_sae, save_sae
from saewidgets.render.labels import WRITTEN_FORMATS
from tests.sae.cases import ALL, batch, loss_of, make, relative

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
