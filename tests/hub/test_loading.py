"""What was downloaded is what the formats load, and what the preview said of it."""

from __future__ import annotations

import pytest
import torch

from saewidgets import load_sae
from saewidgets.formats import detect_format
from saewidgets.hub import HubClient, download, preview


@pytest.mark.parametrize(
    "text",
    [
        "jbloom/GPT2-Small-SAEs-Reformatted/blocks.2.hook_resid_pre",
        "gemma-scope-2b-pt-res-canonical/layer_0/width_16k/canonical",
        "google/gemma-scope-2-270m-pt/resid_post/layer_5_width_16k_l0_small",
        "google/gemma-scope-2-270m-pt/transcoder/layer_9_width_16k_l0_big",
        "EleutherAI/sae-pythia-70m-32k/layers.2",
        "canrager/lm_sae",
        "qwen-scope-3-1.7b-base-w32k-l50/layer14",
    ],
)
def test_a_download_loads_as_previewed(client: HubClient, text: str) -> None:
    said = preview(text, client=client)
    done = download(text, client=client)
    assert detect_format(done.location) == said.format == done.format
    sae = load_sae(done.location)
    assert said.architecture in (None, sae.cfg.architecture)
    assert said.d_in in (None, sae.d_in)
    assert said.d_sae in (None, sae.d_sae)
    x = torch.zeros(3, sae.d_in)
    assert sae.encode(x).shape == (3, sae.d_sae)
    if said.memory_bytes is not None:
        used = sum(tensor.nbytes for tensor in sae.state_dict().values())
        assert said.memory_bytes == pytest.approx(used, rel=0.05)
