"""SAEs published as one pickled file of two torch linear layers, called ``{model}-SAE-l{layer}.pt``.

    f = relu(x @ encoderᵀ + encoder's bias)          x̂ = f @ decoderᵀ + decoder's bias

Matrices are stored [d_sae, d_in] and [d_in, d_sae]. Model and layer are in the name and nowhere else; the place is the
output of the layer, as SAELens' loaders have it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from saewidgets.formats.base import Description, Format
from saewidgets.formats.foreign import build, dtype_name, only, read, renamed, total
from saewidgets.formats.header import Header
from saewidgets.formats.pickled import read_pickled
from saewidgets.formats.source import FolderSource, Source
from saewidgets.sae import SAE

_NOTE = "Model and layer are only in the file's name on the hub, …-SAE-l19.pt, which this one does not have."


@dataclass(frozen=True, slots=True)
class LinearFile:
    """One publisher's files.

    Attributes:
        name: of the format.
        title: what a person reads.
        owner: of the models on the hub.
        pattern: names of files; the first group is the model, the second the layer.
        prefixes: of the tensors of encoder and decoder.
        telling: whether these tensors occur in this format only, so that a renamed file is recognised by them.
    """

    name: str
    title: str
    owner: str
    pattern: re.Pattern[str]
    prefixes: tuple[str, str]
    telling: bool

    def format(self) -> Format:
        """The format as the registry lists it."""
        return Format(self.name, self.title, self.matches, self.describe, self.load, single_file=True)

    @property
    def names(self) -> dict[str, str]:
        encoder, decoder = self.prefixes
        return {
            "W_enc": f"{encoder}.weight", "b_enc": f"{encoder}.bias", "W_dec": f"{decoder}.weight",
            "b_dec": f"{decoder}.bias",
        }

    def matches(self, source: Source) -> bool:
        """By the name of a file; where tensors tell, one file on this machine may be called otherwise."""
        named = any(self.pattern.fullmatch(name) for name in source.files())
        return named or (self.telling and renamed(source, set(self.names.values())))

    def describe(self, source: Source) -> Description:
        """What the name says, and for a file on this machine what its tensors say."""
        file = only(source, self.pattern, "…-SAE-l….pt")
        found = self.pattern.fullmatch(file)
        widths: tuple[int | None, int | None] = (None, None)
        dtype = None
        if isinstance(source, FolderSource):
            header = read_pickled(source, file).header()
            widths, dtype = self._widths(header), dtype_name(header, self.names["W_enc"])
        return Description(
            format=self.name, architecture="standard", d_in=widths[1], d_sae=widths[0], d_out=widths[1], dtype=dtype,
            files=(file,), size_bytes=total(source, [file]), model=f"{self.owner}/{found[1]}" if found else None,
            hook_name=f"blocks.{int(found[2])}.hook_resid_post" if found else None,
            settings={"apply_b_dec_to_input": False}, notes=() if found else (_NOTE,),
        )

    def load(self, folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
        """The SAE in the file `folder`, frozen."""
        source = FolderSource(folder)
        about = self.describe(source)
        found = read_pickled(source, about.files[0])
        tensors = read(source, found.header(), about.files[0], self.names, device=device, transposed=("W_enc", "W_dec"))
        return build(about, tensors, where=found.where, device=device, dtype=dtype)

    def _widths(self, header: Header) -> tuple[int, int]:
        names = self.names
        d_sae, d_in = header.shape(names["W_enc"], 2)
        header.require(
            {
                names["W_enc"]: (d_sae, d_in), names["b_enc"]: (d_sae,), names["W_dec"]: (d_in, d_sae),
                names["b_dec"]: (d_in,),
            },
            source="the other tensors",
        )
        return d_sae, d_in
