"""Hook names: their form, their layer, and what a model computes before what. The places are in `saewidgets.lm`."""

from __future__ import annotations

import re

HOOK_NAME = re.compile(
    r"blocks\.(\d+)\.(hook_(?:resid_pre|resid_post|mlp_out|attn_out)|attn\.hook_z|ln2\.hook_normalized|mlp\.hook_in)"
)
# Within a block. Attention comes before the MLP also where both read the same stream (GPT-NeoX, GPT-J, Phi).
_ORDER = (
    "hook_resid_pre", "attn.hook_z", "hook_attn_out", "ln2.hook_normalized", "mlp.hook_in", "hook_mlp_out",
    "hook_resid_post",
)  # fmt: skip
# Falcon computes both norms before its attention: which of these comes first is told by the model alone.
_EITHER_WAY = ("ln2.hook_normalized", {"attn.hook_z", "hook_attn_out"})


def layer_of(hook_name: str) -> int:
    """The layer in a hook name that was checked."""
    return _parts(hook_name)[0]


def computed_before(first: str, second: str) -> bool:
    """Whether every model computes `first` before `second`; both are hook names that were checked."""
    (layer, site), (later_layer, later_site) = _parts(first), _parts(second)
    if layer != later_layer:
        return layer < later_layer
    norm, attention = _EITHER_WAY
    if (site == norm and later_site in attention) or (site in attention and later_site == norm):
        return False
    return _ORDER.index(site) < _ORDER.index(later_site)


def _parts(hook_name: str) -> tuple[int, str]:
    match = HOOK_NAME.fullmatch(hook_name)
    assert match  # checked by the configuration it is from
    return int(match[1]), match[2]
