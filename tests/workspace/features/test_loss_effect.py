"""The loss effect of a feature at a token equals a plain recomputation."""

import numpy as np
import pytest
import torch

from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.records import SAERecord
from saewidgets.workspace import Workspace
from saewidgets.workspace.extractions import Extraction

TEXT = "The king went down to the river, and the people stood by the water."


def plainly(ws: Workspace, sae: SAERecord, ids: list[int], at: int, index: int) -> tuple[float, float]:
    """(loss as it is − loss with the feature ablated at token `at`, loss), with transformers and a hook of our own."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(sae.model)).eval()
    module = ws.saes.load(sae.id)
    tokens = torch.tensor([ids])
    wanted = ids[at + 1]

    def loss() -> float:
        with torch.no_grad():
            return float(-model(tokens).logits[0, at].double().log_softmax(-1)[wanted])

    def ablate(_module: object, _inputs: object, output: object) -> object:
        h = output[0] if isinstance(output, tuple) else output
        assert isinstance(h, torch.Tensor)
        with torch.no_grad():
            f = module.encode(h[:, at])[0]
            without = f.clone()
            without[index] = 0
            change = module.decode(without[None]) - module.decode(f[None])
            h = h.clone()
            h[:, at] += change
        return (h, *output[1:]) if isinstance(output, tuple) else h

    clean = loss()
    block = model.transformer.h[0] if hasattr(model, "transformer") else model.gpt_neox.layers[0]
    handle = block.register_forward_hook(ablate)
    try:
        return clean - loss(), clean
    finally:
        handle.remove()


def test_of_examples(ws: Workspace, sae: SAERecord, extracted: Extraction) -> None:
    store = extracted.store()
    size = store.manifest.context_size
    special = set(store.special_ids)
    seen = 0
    order = np.argsort(-np.asarray(store.fired))
    for index in order[:4].tolist():
        for example in ws.features.examples(f"feat_{sae.id}_{index}", limit=3):
            assert example.position is not None
            row, at = divmod(example.position, size)
            ids = [int(i) for i in store.context(row)]
            if at + 1 >= size or ids[at + 1] in special:
                with pytest.raises(ConfigError, match=r"No token follows|special token"):
                    ws.features.loss_effect(extracted.id, index, position=example.position)
                continue
            found = ws.features.loss_effect(extracted.id, index, position=example.position)
            effect, loss = plainly(ws, sae, ids, at, index)
            assert found.loss == pytest.approx(loss, abs=1e-4)
            assert found.effect == pytest.approx(effect, abs=1e-4)
            assert found.effect != 0
            seen += 1
    assert seen >= 3


def test_of_a_typed_text(ws: Workspace, sae: SAERecord, extracted: Extraction) -> None:
    from transformers import AutoTokenizer

    reading = ws.features.run_on(sae.id, TEXT)
    index = int(reading.indices[0])
    on = np.flatnonzero(reading.activations[0][:-1])
    bos = AutoTokenizer.from_pretrained(str(sae.model)).bos_token_id
    ids = [bos, *reading.ids.tolist()]
    for token in on[:2].tolist():
        found = ws.features.loss_effect(extracted.id, index, text=TEXT, token=token)
        assert (found.effect, found.loss) == pytest.approx(plainly(ws, sae, ids, token + 1, index), abs=1e-4)
    rare = int(np.argmin((reading.activations > 0).sum(1)))
    silent = int(np.flatnonzero(reading.activations[rare][:-1] == 0)[0])
    assert ws.features.loss_effect(sae.id, int(reading.indices[rare]), text=TEXT, token=silent).effect == 0


def test_rejects_positions_without_a_loss_effect(ws: Workspace, sae: SAERecord, extracted: Extraction) -> None:
    last = len(ws.features.run_on(sae.id, TEXT).ids) - 1
    with pytest.raises(ConfigError, match="No token follows this one"):
        ws.features.loss_effect(sae.id, 0, text=TEXT, token=last)
    with pytest.raises(ConfigError, match="no token 400"):
        ws.features.loss_effect(sae.id, 0, text=TEXT, token=400)
    with pytest.raises(ConfigError, match="no position -1"):
        ws.features.loss_effect(extracted.id, 0, position=-1)
    with pytest.raises(ConfigError, match="No token is named"):
        ws.features.loss_effect(sae.id, 0, text=TEXT)
    with pytest.raises((ConfigError, NotFoundError)):
        ws.features.loss_effect(sae.id, 10**6, text=TEXT, token=0)
