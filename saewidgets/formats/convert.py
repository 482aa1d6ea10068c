"""From one format to another."""

from __future__ import annotations

from pathlib import Path

from saewidgets.config import arguments
from saewidgets.errors import FormatError
from saewidgets.formats import registry, saelens, saelens_write
from saewidgets.formats.density import read_log_density
from saewidgets.formats.detect import locate
from saewidgets.formats.io import load_sae, save_sae
from saewidgets.formats.occupied import same_format


def convert(path: str | Path, dest: str | Path, format: str = saelens.NAME) -> Path:
    """Write the SAE at `path` into the folder `dest` in another format; returns the folder.

    Model, hook point and the rest of what its files say about it come along, and so does the density of its latents
    where both formats have it. The number format of the weights stays, unless a shorter one than float32 would round
    what the target needs. `dest` is written whole or not at all.

    Args:
        path: as for `load_sae`.
        dest: new, empty, or an SAE in the same format that is replaced.
        format: name of a format that is written.

    Raises:
        NotFoundError: `path` does not exist.
        FormatError: `path` holds no SAE in a known format, or `format` cannot express it; the reason is in the message.
        ConfigError: there is no format of that name; an argument is of another kind.
        StorageError: `dest` holds something else (an SAE in another format, too), or cannot be written.
    """
    registry.get(format)
    found, dest = locate(path), arguments.path(dest, "dest", "where the SAE goes")
    if dest.resolve() == found.path.resolve() and found.format.name != format:
        raise FormatError("Source and destination are the same folder.", where=str(dest), hint="Choose another folder.")
    sae = load_sae(path)
    sae.metadata.setdefault("converted_from", found.format.name)
    if format != saelens.NAME:
        return save_sae(sae, dest, format)
    density = read_log_density(found.path)
    if density is not None and density.shape != (sae.d_sae,):
        density = None
    with same_format(dest, format):
        return saelens_write.save(sae, dest, log_sparsity=density)
