"""A tiny model, a text and SAEs for tests of extraction. With `exact` all sums come out without rounding, so that
results have to be equal bit for bit whatever the sizes of batches and blocks."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from saewidgets.activations import PackedTokens, open_corpus, pack
from saewidgets.config import TextCorpus
from saewidgets.lm import LoadedModel, load_model
from saewidgets.sae import SAE, create_sae, inference_sae

EMBED, RESID = "hook_embed", "blocks.0.hook_resid_post"
D_IN, D_SAE = 32, 40
WORDS = ("king", "queen", "whale", "river", "ship", "the", "a", "and", "went", "down", "to", "people", "sea")


def tiny_model(folder: Path, *, exact: bool = False) -> LoadedModel:
    """The tiny GPT-2; with `exact` its embeddings are multiples of 1/8, one of them very long."""
    lm = load_model(str(folder))
    if exact:
        table: Any = lm.model.get_input_embeddings()  # type: ignore[operator]
        with torch.no_grad():
            table.weight.copy_((table.weight * 40).round().clamp(-8, 8) / 8)
            table.weight[lm.tokenizer(" whale").input_ids[0]] *= 128  # drowns all others: left out by its norm
    return lm


def tiny_text(lm: LoadedModel, folder: Path, *, documents: int = 40, context_size: int = 24) -> PackedTokens:
    """Documents of very different lengths with passages that return."""
    rng = np.random.default_rng(0)
    passage = "the king went down to the river and the people followed"
    strings = []
    for number in range(documents):
        words = [str(rng.choice(WORDS)) for _ in range(int(rng.choice([2, 20, 90])))]
        strings.append(" ".join([*words, passage] if number % 3 else words))
    corpus = open_corpus(TextCorpus(strings=tuple(strings)))
    return pack(corpus, lm.tokenizer, folder=folder, context_size=context_size, validation_share=0.05)


def tiny_sae(architecture: str, *, exact: bool = False, d_sae: int = D_SAE) -> SAE:
    """An SAE of the tiny model's width; latent 7 is dead, latent 11 fires on everything."""
    generator = torch.Generator().manual_seed(3)
    W = torch.randn(D_IN, d_sae, generator=generator) * 3
    if exact:
        W = (W * 8).round().clamp(-32, 32) / 32
    bias = torch.arange(d_sae) * 2.0**-13  # no two latents are ever equal
    bias[7], bias[11] = -4096, 64
    weights = {"W_enc": W, "b_enc": bias, "W_dec": W.T.contiguous(), "b_dec": torch.zeros(D_IN)}
    if architecture == "batchtopk":
        sae = create_sae("batchtopk", D_IN, d_sae=d_sae, k=4)
        sae.load_state_dict({**weights, "threshold": torch.tensor(0.5)})
        return sae.eval()
    if architecture == "jumprelu":
        weights["threshold"] = torch.full((d_sae,), 0.25)
    settings = {"k": 5} if architecture in ("topk", "abstopk") else {}
    return inference_sae(architecture, D_IN, weights, **settings)
