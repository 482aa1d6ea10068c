"""What an SAE on the hub is, before its weights are fetched: configuration and headers, by a few ranged reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from saewidgets.config.names import hub_model
from saewidgets.formats import registry
from saewidgets.formats.format import Description
from saewidgets.hub.cache import Listing, RepoFile, free_bytes, missing_bytes
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import SWITCH
from saewidgets.hub.known import gated, trained_on
from saewidgets.hub.listing import HubSource, look
from saewidgets.hub.reference import HubReference, parse_reference
from saewidgets.hub.variants import choose, needed_files, variants
from saewidgets.hub_records import HubWarning, Preview, Variant
from saewidgets.render.numbers import size
from saewidgets.settings import free_memory as free_main_memory

PICKLES = (".pt", ".pth", ".bin")
_OF_THE_CACHE = HubWarning(
    "note", f"Offline mode ({SWITCH}): this is what the cache of this machine has.",
    "What its repository holds now is not known.",
)  # fmt: skip
_PICKLED = HubWarning(
    "pickle", "The weights are in a pickled file.",
    "Only tensors and plain values are taken from it, and nothing in it can run; what it holds is known after the "
    "download.",
)  # fmt: skip
ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def preview(
    reference: str | HubReference, *, client: HubClient | None = None, device: str | None = None
) -> Preview:
    """Configuration, dimensions, format, size, memory and warnings of one SAE (see `Workspace.hub.preview`).

    After the repository's listing (which the client keeps, with what the look at it has read) it takes at most three
    requests and some ten kilobytes. Of pickled formats nothing but the size and a configuration beside them is known.
    In offline mode the files in the cache are looked at (`from_cache`), if all of the SAE are there.
    """
    client = client or HubClient()
    place = parse_reference(reference)
    listing = look(place, client)
    variant = choose(variants(place, client=client, listing=listing), place)
    files = needed_files(listing, variant.path, variant.format)
    before = client.sent()
    description = describe(listing, variant, client)
    named = description.model or trained_on(listing.repo_id, listing.info.base_models)
    model = hub_model(named) or named
    weights = _weight_bytes(description, files)
    item = ITEM_BYTES.get(description.dtype or "")  # None where only the weights tell their number format
    found = Preview(
        repo_id=listing.repo_id,
        revision=listing.revision,
        path=variant.path,
        format=description.format,
        architecture=description.architecture,
        d_in=description.d_in,
        d_sae=description.d_sae or variant.d_sae,
        d_out=description.d_out,
        dtype=description.dtype,
        model=model,
        hook_name=description.hook_name,
        layer=variant.layer if variant.layer is not None else _layer(description.hook_name),
        total_bytes=sum(file.size for file in files.values()),
        download_bytes=missing_bytes(client.cache_dir, listing, list(files.values())),
        memory_bytes=math.ceil(weights / item * 4) if item else None,
        gpu_bytes=weights if item else None,
        cached=variant.cached,
        gated_model=gated(model, client),
        config=description.config,
        settings=description.settings,
        disk_free_bytes=free_bytes(client.cache_dir),
        from_cache=not listing.complete,
        requests=client.sent() - before,
    )
    warnings = list(_warnings(found, client.endpoint, device))
    if any(name.endswith(PICKLES) for name in files):
        warnings.append(_PICKLED)
    warnings += [HubWarning("note", note) for note in description.notes]
    return replace(found, warnings=(*warnings, *(() if listing.complete else (_OF_THE_CACHE,))))


def describe(listing: Listing, variant: Variant, client: HubClient) -> Description:
    """What the files at the head of an SAE say. Kept by the client, since a commit does not change."""

    return client.once(
        ("description", listing.repo_id, listing.revision, variant.path),
        lambda: registry.get(variant.format).describe(HubSource(listing, variant.path, client)),
    )


def _weight_bytes(description: Description, files: Mapping[str, RepoFile]) -> int:
    endings = (".safetensors", ".npz", *PICKLES)
    used = [file.size for name, file in files.items() if name in description.files and name.endswith(endings)]
    return sum(used) or sum(file.size for name, file in files.items() if name.endswith(endings))


def _layer(hook_name: str | None) -> int | None:
    numbers = [part for part in (hook_name or "").split(".") if part.isdigit()]
    return int(numbers[0]) if numbers else None


def _warnings(found: Preview, endpoint: str, device: str | None) -> Iterator[HubWarning]:
    """What stands between the SAE and its use: a licence, too little memory on `device`, too little room on disk."""
    if found.gated_model:
        yield HubWarning(
            "gated_model",
            f"{found.model} is gated.",
            "The SAE files are open and can be downloaded; extracting and steering need the base model. Sign in, "
            f"accept the licence on {endpoint}/{found.model} with that account, then check again.",
        )
    memory = found.memory_bytes
    needed = memory if device == "cpu" else found.gpu_bytes
    free = None if device is None else free_memory(device)
    if memory is not None and needed is not None and free is not None and needed > free:
        held = "float32" if needed == memory else found.dtype
        hint = f"It needs {size(needed)} in {held}; {size(free)} is free. In bfloat16 it needs {size(memory / 2)}."
        cpu = None if device == "cpu" else free_memory("cpu")
        if cpu is not None and cpu > memory:
            hint += f" The CPU has {size(cpu)} free: it fits there, but is slower."
        yield HubWarning("memory", f"Not enough memory on {device}.", hint)
    disk = found.disk_free_bytes
    if disk is not None and found.download_bytes > disk:
        yield HubWarning(
            "disk",
            "Not enough disk space.",
            f"The download needs {size(found.download_bytes)} and {size(disk)} is free. Free some space, or choose a "
            "narrower width.",
        )


def free_memory(device: str) -> int | None:
    """Free bytes of a device; None if that cannot be found out."""
    if not device.startswith("cuda"):
        return free_main_memory()
    import torch  # seconds to import, and only needed for a GPU

    try:
        return int(torch.cuda.mem_get_info(device)[0])
    except (RuntimeError, AssertionError, ValueError):
        return None
