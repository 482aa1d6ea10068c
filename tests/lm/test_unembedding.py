import pytest
import torch
from torch import nn

from saewidgets.lm import HookError, capture, forward
from saewidgets.lm.unembedding import unembedding
from tests.lm.models import CONFIGS, LAYERS, VOCAB, WIDTH, build


def with_varied_norms(name: str) -> nn.Module:
    """Norms that multiply by something else than one."""
    changes = {"final_logit_softcapping": None} if name == "gemma2" else {}
    model = build(name, **changes)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_follow_from_the_residual_stream(name: str) -> None:
    """logits(h) · σ(h), centred, is the effect of h plus one constant vector / σ: checked at many positions at once."""
    model = with_varied_norms(name)
    ids = torch.randint(2, VOCAB, (2, 7), generator=torch.Generator().manual_seed(2))
    h = capture(model, [f"blocks.{LAYERS - 1}.hook_resid_post"], ids)[f"blocks.{LAYERS - 1}.hook_resid_post"]
    h = h.reshape(-1, WIDTH).double()
    logits = forward(model, ids).logits.reshape(-1, VOCAB).double()
    logits = logits - logits.mean(-1, keepdim=True)

    found = unembedding(model)
    assert found.weight.shape == (VOCAB, WIDTH)
    eps = next(getattr(model.config, k) for k in (
        "rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_eps") if hasattr(model.config, k)
    ) if name not in ("opt",) else 1e-5
    base = h - h.mean(-1, keepdim=True) if found.centred else h
    sigma = (base.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    rest = logits - found.effects(h.float()).double() / sigma
    assert rest.std(0).max() < 2e-4 * logits.std()
    assert found.effects(h.float()).mean(-1).abs().max() < 1e-5


def test_no_norm_before_the_head() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(VOCAB, WIDTH)
            self.head = nn.Linear(WIDTH, VOCAB, bias=False)

        def get_output_embeddings(self) -> nn.Module:
            return self.head

        def get_input_embeddings(self) -> nn.Module:
            return self.embed

        def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> torch.Tensor:
            result: torch.Tensor = self.head(self.embed(input_ids))
            return result

    model = Bare()
    found = unembedding(model)
    assert found.gain is None
    d = torch.randn(3, WIDTH)
    expected = d @ model.head.weight.detach().T
    torch.testing.assert_close(found.effects(d), expected - expected.mean(-1, keepdim=True))


def test_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(HookError, match="no output embeddings"):
        unembedding(nn.Linear(2, 2))
