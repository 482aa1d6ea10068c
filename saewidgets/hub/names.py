"""What the names of a repository and its folders say of an SAE: site, layer, width, mean active latents."""

from __future__ import annotations

import re
from dataclasses import dataclass

from saewidgets.hub.releases import canonical_paths, published_l0

# As repositories write them; Gemma Scope's count thousands (65k), others' count 1,024s (64k).
WIDTHS = {f"{n}k": 1024 * n for n in (1, 2, 4, 8, 16, 24, 32, 64, 80, 128)} | {
    "65k": 1 << 16,
    "131k": 1 << 17,
    "262k": 1 << 18,
    "524k": 1 << 19,
    "1m": 1 << 20,
}
_SCOPE = {"res": "resid_post", "mlp": "mlp_out", "att": "attn_out", "transcoders": "transcoder"}
_SITES = (  # first match wins; names of folders, repositories and hook points
    (r"hook_(resid_pre|resid_mid|resid_post|mlp_out|attn_out|mlp_in|embed)(?![a-z])", None),
    (r"attn\.hook_z|hook_z\b", "attn_out"),
    (r"(resid_post|resid_mid|resid_pre|attn_out|mlp_out|transcoder)(?:_all)?(?:/|_layer|$)", None),
    (r"(?:^|/)Llama3_1-8B-Base-L\d+R-", "resid_post"),
    (r"(?:^|/)Llama3_1-8B-Base-L\d+A-", "attn_out"),
    (r"(?:^|/)Llama3_1-8B-Base-L\d+M-", "mlp_out"),
    (r"(?:^|/)Llama3_1-8B-Base-L\d+TC-", "transcoder"),
    (r"(?:^|/)L\d+R(?:/|$)|SAE-Res-", "resid_post"),
    (r"(?:layers|h|blocks)\.\d+\.mlp(?:/|$)|-mlp-", "mlp_out"),
    (r"(?:layers|h|blocks)\.\d+\.(?:self_)?att(?:n|ention)(?:/|$)|-att-", "attn_out"),
    (r"(?:layers|h|blocks)\.\d+(?:/|$)|-res-", "resid_post"),
    (r"transcoder", "transcoder"),
)
_LAYERS = (
    r"blocks\.(\d+)\.",
    r"(?:layers|h)\.(\d+)(?:[./]|$)",
    r"layer[_-]?(\d+)(?!\d)",
    r"(?:^|/|-)L(\d+)(?:R|A|M|TC)(?:-|/|$)",
    r"(?:^|/)(\d+)-(?:res|mlp|att)",
)


@dataclass(frozen=True, slots=True)
class Names:
    """Facts about an SAE, each None where the names do not say it (`Variant` explains them)."""

    site: str | None = None
    layer: int | None = None
    width: str | None = None
    d_sae: int | None = None
    l0: float | None = None
    canonical: bool = False


def read_names(repo_id: str, path: str) -> Names:
    """What can be read from names alone; the rest is None."""
    scope = re.search(r"/gemma-scope-\d+b-\w+-(res|mlp|att|transcoders)$", repo_id)
    site = _SCOPE[scope[1]] if scope else _first_site(path) or _first_site(repo_id)
    if path.startswith("embedding/") and scope:
        site = "embedding"
    width = _width(path) or _width(repo_id)
    return Names(
        site=site,
        layer=_layer(path),
        width=width,
        d_sae=WIDTHS.get(width or "") or _number(path),
        l0=_l0(repo_id, path),
        canonical=path in canonical_paths(repo_id),
    )


def _first_site(text: str) -> str | None:
    for pattern, site in _SITES:
        if found := re.search(pattern, text):
            return site or str(found[1])
    return None


def _layer(path: str) -> int | None:
    for pattern in _LAYERS:
        if found := re.search(pattern, path):
            return int(found[1]) if len(found[1]) < 5 else None
    return None


def _width(text: str) -> str | None:
    """``"16k"``, ``"1m"``: as written after ``width_``, or as ``-W32K-``, ``-w-32k-``, ``-32k-`` between dashes."""
    for found in re.findall(r"(?:^|[_-])(?:width[_-]|[wW][_-]?)?(\d{1,3}[kKmM])(?=$|[_/-])", text):
        if found.lower() in WIDTHS:
            return str(found.lower())
    return None


def _number(path: str) -> int | None:
    """A power of two at the end of a name (``…hook_resid_pre_24576`` too) is the number of latents."""
    found = re.search(r"_(\d{4,7})$", path)
    return int(found[1]) if found and int(found[1]) % 256 == 0 else None


def _l0(repo_id: str, path: str) -> float | None:
    if found := re.search(r"average_l0_(\d{1,5})(?!\d)", path):
        return float(found[1])
    if found := re.search(r"-L0_(\d{1,4})(?!\d)", repo_id):
        return float(found[1])
    return published_l0(repo_id, path)
