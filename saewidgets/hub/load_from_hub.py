"""Defines the public `load_sae`, for a path on this machine or a repository on the hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from saewidgets.config import arguments
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.formats import io
from saewidgets.hub.reference import parse_reference

if TYPE_CHECKING:
    import torch

    from saewidgets.sae import SAE

_LONGEST = 1_000  # characters of a name of the hub; a longer one is refused as a path


def load_sae(
    path_or_repo: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    token: str | None = None,
    apply_b_dec_to_input: bool | None = None,
) -> SAE:
    """An SAE, frozen and ready for inference, from a path or from the Hugging Face hub.

    Args:
        path_or_repo: a folder or file on this machine; else ``owner/name``, ``owner/name@revision``,
            ``owner/name/folder``, a pasted link, or a SAELens release and id (``gemma-scope-2b-pt-res-canonical/…``).
            What exists on this machine is taken from there. A download goes to the hub cache that other tools share
            and is made once; `Workspace.hub` keeps SAEs in a library.
        device: where the weights go.
        dtype: number format of the weights; None keeps what the file declares.
        token: for private repositories; None leaves it to huggingface_hub (``HF_TOKEN``, a saved login).
        apply_b_dec_to_input: whether b_dec is subtracted from the input, where the files leave it open.

    Returns:
        An SAE of the right class. `metadata` says what it was trained on as far as the files do; ``metadata["notes"]``
        lists what a person should know (something was corrected, or is not known).

    Raises:
        NotFoundError: there is no such path, and it cannot name a repository.
        FormatError: the format is unknown, or a file is not what its configuration says. No code of a file runs and
            sizes are checked before memory is taken.
        HubError: missing, private, gated, unreachable, …: each a class of its own with the next step.
        ConfigError: an argument is of another kind, or says what the files say themselves; or there is no such device.
    """
    given = arguments.path_text(path_or_repo, "path_or_repo", "a repository of the hub or the path of an SAE")
    arguments.optional_text(token, "token", "an access token", secret=True)
    is_path = not isinstance(path_or_repo, str) or given.startswith((".", "/", "~", "\\"))
    if is_path or os.path.exists(given) or len(given) > _LONGEST:
        return io.load_sae(path_or_repo, device=device, dtype=dtype, apply_b_dec_to_input=apply_b_dec_to_input)
    try:
        reference = parse_reference(given)
    except ConfigError as error:
        raise NotFoundError(
            "There is no such file or folder.", where=given[:200],
            hint="Check the path, or give a repository of the Hugging Face hub as owner/name.",
        ) from error
    # The client: half a second to import, and not needed for what is on this machine.
    from saewidgets.hub.client import HubClient
    from saewidgets.hub.transfer import download

    found = download(reference, client=HubClient(token))
    return io.load_sae(found.location, device=device, dtype=dtype, apply_b_dec_to_input=apply_b_dec_to_input)
