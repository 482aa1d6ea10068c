import json

import numpy as np
import pytest

from saewidgets.durable import sealed
from saewidgets.features.export import Effects, EffectsOf, TokenEffect
from saewidgets.features.store.layout import MANIFEST
from saewidgets.features.store.read import FeatureStore
from saewidgets.sae import SAE, create_sae
from tests.features.export.examples import EVIL, HOSTILE
from tests.features.store.made import D


@pytest.fixture
def hostile(store: FeatureStore) -> FeatureStore:
    """The same text, but its commonest tokens are meant to break something."""
    table = np.array(store["vocabulary"])
    data = (store.folder / "vocabulary.bin").read_bytes()
    pieces = {int(token): data[begin:end] for token, begin, end in table}
    ids, counts = np.unique(store.packed.contexts(range(store.manifest.n_contexts)), return_counts=True)
    common = [int(i) for i in ids[np.argsort(-counts)] if int(i) not in store.special_ids]
    pieces |= {token: HOSTILE[place % len(HOSTILE)] for place, token in enumerate(common[:60])}
    ends = np.cumsum([len(piece) for piece in pieces.values()])
    starts = np.concatenate([[0], ends[:-1]])
    np.save(store.folder / "vocabulary.npy", np.stack([list(pieces), starts, ends], axis=1).astype("<i8"))
    (store.folder / "vocabulary.bin").write_bytes(b"".join(pieces.values()))
    manifest = json.loads((store.folder / MANIFEST).read_text("utf-8")) | {"checksums": {}}
    (store.folder / MANIFEST).write_text(json.dumps(sealed(manifest)), "utf-8")
    return FeatureStore(store.folder, store.packed.folder.parent)


@pytest.fixture
def logits() -> EffectsOf:
    def effects(index: int) -> Effects:
        if index == 7:
            return Effects([], [])
        up = [TokenEffect(t, f" tok{t}", 2.0 - t / 10) for t in range(10)]
        down = [TokenEffect(100, EVIL, -1.5), TokenEffect(101, "\0", -1.25)]
        return Effects(up, down, [1, 5, 40, 10, 2], [-1.5, -0.75, 0.0, 0.75, 1.5, 2.25])

    return effects


@pytest.fixture
def sae() -> SAE:
    return create_sae("topk", d_in=8, d_sae=D, k=4)
