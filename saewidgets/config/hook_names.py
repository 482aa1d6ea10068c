"""Hook names: their form, layer and head, and the order in which a model computes them. `saewidgets.lm` finds the
modules.

One head of ``blocks.3.attn.hook_z`` has a name of its own: ``blocks.3.attn.hook_z.5`` is its head 5, counted from 0.
SAELens says the same with two settings, `hook_name` and `hook_head_index`.
"""

import re
from typing import Annotated

from pydantic import AfterValidator

from saewidgets.errors import ConfigError

HOOK_NAME = re.compile(
    r"blocks\.(\d+)\.(hook_(?:resid_pre|resid_mid|resid_post|mlp_out|attn_out)|attn\.hook_z|ln2\.hook_normalized|mlp\.hook_in)"
    r"(?:(?<=hook_z)\.(0|[1-9][0-9]{0,3}))?"  # one head of hook_z, of which there is one spelling
)
_HEADS = re.compile(r"(blocks\.\d+\.attn\.hook_z)(?:\.(0|[1-9][0-9]{0,3}))?")
# Within a block, as they are computed. Attention comes before the MLP also where both read the same stream (GPT-NeoX,
# GPT-J, Phi).
IN_BLOCK = (
    "hook_resid_pre", "attn.hook_z", "hook_attn_out", "hook_resid_mid", "ln2.hook_normalized", "mlp.hook_in",
    "hook_mlp_out", "hook_resid_post",
)  # fmt: skip
# Falcon computes both norms before its attention: only the model tells which of these comes first.
_EITHER_WAY = ("ln2.hook_normalized", {"attn.hook_z", "hook_attn_out"})


def _of_the_form(value: str) -> str:
    if not HOOK_NAME.fullmatch(value):
        raise ConfigError(
            f"{value!r} is not a hook name.",
            hint="Use blocks.LAYER.hook_resid_pre, hook_resid_mid, hook_resid_post, hook_mlp_out, hook_attn_out, "
            "attn.hook_z, ln2.hook_normalized or mlp.hook_in; attn.hook_z.HEAD is one head.",
        )
    return value


HookName = Annotated[str, AfterValidator(_of_the_form)]


def layer_of(hook_name: str) -> int:
    """The layer in a hook name that was checked."""
    return _parts(hook_name)[0]


def without_head(hook_name: str) -> str:
    """The place that a hook name is at, with all its heads: ``blocks.3.attn.hook_z`` for ``blocks.3.attn.hook_z.5``.
    Any other text is what it was."""
    return found[1] if (found := _HEADS.fullmatch(hook_name)) else hook_name


def head_of(hook_name: str) -> int | None:
    """Which head of attention a hook name means; None: all of them, or none at all."""
    found = _HEADS.fullmatch(hook_name)
    return int(found[2]) if found and found[2] is not None else None


def with_head(hook_name: str, head: int) -> str | None:
    """The hook name of one head of ``blocks.L.attn.hook_z``; None where `hook_name` is another one, or `head` no head
    of any model."""
    name = f"{hook_name}.{head}"
    return name if head_of(hook_name) is None and head_of(name) == head else None


def computed_before(first: str, second: str) -> bool:
    """Whether every model computes `first` before `second`; both are hook names that were checked."""
    (layer, site), (later_layer, later_site) = _parts(first), _parts(second)
    if layer != later_layer:
        return layer < later_layer
    norm, attention = _EITHER_WAY
    if (site == norm and later_site in attention) or (site in attention and later_site == norm):
        return False
    return IN_BLOCK.index(site) < IN_BLOCK.index(later_site)


def _parts(hook_name: str) -> tuple[int, str]:
    match = HOOK_NAME.fullmatch(hook_name)
    assert match  # checked by the configuration it is from
    return int(match[1]), match[2]
