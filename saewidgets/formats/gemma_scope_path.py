"""What the path of a Gemma Scope SAE says: ``google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82``.

The files have no configuration, so the model, the site and the layer are known only from the names of repository and
folders. Facts: Lieberum et al. 2024 (arXiv:2408.05147) and the repositories themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

_REPO = re.compile(r"gemma-scope-(2b|9b|27b)-(pt|it)-(res|mlp|att|transcoders)")
_FOLDER = re.compile(r"(?:^|/)(?:layer_\d+|embedding)/width_\d+[km]/average_l0_\d+/?$")
_WIDTHS = {(f"{n // 1000}k" if n < 10**6 else f"{n // 10**6}m"): n for n in (2**power for power in range(10, 24))}
_HOOKS = {
    "res": "blocks.{}.hook_resid_post", "mlp": "blocks.{}.hook_mlp_out", "att": "blocks.{}.attn.hook_z",
    "transcoders": "blocks.{}.ln2.hook_normalized",
}


@dataclass(frozen=True, slots=True)
class ScopePath:
    """What a path says; None where it says nothing.

    Attributes:
        site: ``"res"``, ``"mlp"``, ``"att"`` or ``"transcoders"``.
        width: as written, ``"16k"``; `d_sae` is the number.
        embedding: the SAE reads token embeddings instead of a layer.
    """

    model: str | None = None
    site: str | None = None
    layer: int | None = None
    width: str | None = None
    l0: int | None = None
    embedding: bool = False

    @property
    def d_sae(self) -> int | None:
        return width_number(self.width) if self.width else None

    @property
    def hook_name(self) -> str | None:
        if self.embedding:
            return "hook_embed"
        if self.site is None or self.layer is None:
            return None
        return _HOOKS[self.site].format(self.layer)

    @property
    def hook_name_out(self) -> str | None:
        """Where a transcoder writes."""
        known = self.site == "transcoders" and self.layer is not None
        return f"blocks.{self.layer}.hook_mlp_out" if known else None


def width_number(width: str) -> int | None:
    """``"16k"`` → 16384, ``"131k"`` → 131072, ``"1m"`` → 1048576; None for what is no power of two in thousands."""
    return _WIDTHS.get(width)


def width_name(d_sae: int) -> str | None:
    """The other way round: ``16384`` → ``"16k"``; None for a width that has no name."""
    return next((name for name, number in _WIDTHS.items() if number == d_sae), None)


def read_path(label: str) -> ScopePath:
    """What `label` says: a path of this machine, one inside the hub's cache, or ``owner/name@revision/folder``."""
    parts = PurePath(label).parts
    last: dict[str, str] = {}
    for part in parts[-4:]:
        match = re.fullmatch(r"(layer|width|average_l0)_(\w{1,8})", part)
        if match:
            last[match[1]] = match[2]
    repo = None
    for part in parts:
        repo = _REPO.search(part) or repo
    layer, l0 = last.get("layer", ""), last.get("average_l0", "")
    return ScopePath(
        model=f"google/gemma-2-{repo[1]}{'-it' if repo[2] == 'it' else ''}" if repo else None,
        site=repo[3] if repo else None,
        layer=int(layer) if layer.isdecimal() else None,
        width=last.get("width"),
        l0=int(l0) if l0.isdecimal() else None,
        embedding="embedding" in parts[-4:] and "layer" not in last,
    )


def is_scope_folder(label: str) -> bool:
    """Whether `label` ends as Gemma Scope lays its folders out: layer (or embedding), width, average L0."""
    return _FOLDER.search(label.replace("\\", "/")) is not None
