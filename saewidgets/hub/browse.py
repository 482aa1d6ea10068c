"""Defines `variants`, which folders of a repository are SAEs, of which format, site, layer and width: from the listing,
the names of repository and folders, and a look at one folder of each kind. And `preview`, which describes one
of them by a few ranged reads, without its weights."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from saewidgets.config.names import hub_model
from saewidgets.errors import ConfigError, FormatError, NotFoundError
from saewidgets.formats import registry
from saewidgets.formats.format import Description, Format
from saewidgets.formats.source import ListedSource, Source
from saewidgets.hub.cache import Listing, RepoFile, cached_file, free_bytes, missing_bytes, repo_folder
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import SWITCH, HubError, NoSAEError, switched_off
from saewidgets.hub.reference import (
    HubReference,
    canonical_paths,
    find_release,
    gated_by_name,
    parse_reference,
    published_l0,
    repos_for_model,
    trained_on,
)
from saewidgets.hub.repository import NOT_HERE, HubSource, look
from saewidgets.hub_records import HubWarning, Preview, Variant
from saewidgets.render.numbers import size
from saewidgets.settings import free_memory as free_main_memory

WEIGHTS = (".safetensors", ".npz", ".pt", ".pth")
CONFIGS = (".json", ".yaml", ".yml")
MOST_LOOKS = 24  # kinds of folder of one repository that are looked into
# What lies beside the weights without being needed to use them.
NOT_NEEDED = re.compile(
    r"(?:^|/)(?:trainer_state\.pt|state\.pt|optimizer\S*|lr_scheduler\S*|rank_\d+_state\.pt|activations_store_state\S*|"
    r"activation_scaler\.json|activation_whitening\S*|examples\.safetensors|sae_layer_\d+_history\.json)$"
)
SMALL = 1_000_000  # bytes; configurations are kept, other things of any size are not


def variants(
    reference: str | HubReference, *, client: HubClient | None = None, listing: Listing | None = None
) -> tuple[Variant, ...]:
    """The SAEs of a repository, or of one of its folders, in the order of their paths (see `Workspace.hub.variants`).

    Takes the listing and, for each kind of folder, one look into the first of that kind; what they hold is not read.
    Whether the base model that the card names is gated is asked too where its name does not tell: previews need not.
    In offline mode those that the cache on this machine has whole: `from_cache`.
    """
    client, place = client or HubClient(), parse_reference(reference)
    listing = listing or look(place, client)
    found = [variant for variant in _all(listing, client) if _inside(variant, place.path)]
    if found and place.release is not None:
        found = _of_release(found, place)
    if not found and not listing.complete:
        error = switched_off()
        error.hint = f"{error.hint} {NOT_HERE}"
        raise error
    if not found:
        raise _none(listing, place)
    return tuple(found)


def choose(found: Sequence[Variant], reference: HubReference) -> Variant:
    """The one SAE that a reference names. Raises `ConfigError`, which lists some, if it names several."""
    for variant in found:
        if variant.path == reference.path:
            return variant
    if len(found) == 1:  # the only one there, or the one that has the named file
        return found[0]
    listed = ", ".join(variant.path for variant in found[:4])
    raise ConfigError(
        f"There are {len(found):,} SAEs here: {listed}{', …' if len(found) > 4 else ''}.",
        where=str(reference),
        hint="Name the folder of one of them. All are listed by "
        f"ws.hub.variants({reference.repo_id!r}) or `saewidgets hub variants {reference.repo_id}`.",
    )


def facets(
    found: Iterable[Variant], *, site: str | None = None, layer: int | None = None, width: str | None = None,
    l0: float | None = None,
) -> dict[str, dict[Any, int]]:
    """How many SAEs there are per site, layer, width and L0, each counted under the other choices; values in their
    order, widths by number."""
    chosen = {"site": site, "layer": layer, "width": width, "l0": l0}
    all_of_them = list(found)
    numbers = {one.width: one.d_sae or 0 for one in all_of_them}
    result = {}
    for name in chosen:
        others = [(other, value) for other, value in chosen.items() if other != name and value is not None]
        left = [one for one in all_of_them if all(getattr(one, other) == value for other, value in others)]
        counts = Counter(getattr(one, name) for one in left)
        values = sorted(counts.keys() - {None}, key=numbers.__getitem__ if name == "width" else None)
        result[name] = {value: counts[value] for value in values}
    return result


def needed_files(listing: Listing, path: str, format_name: str) -> dict[str, RepoFile]:
    """The files that make up the SAE at `path`: weights and configurations, not a training's state."""
    if path in listing.files:
        start, base = path[: path.rfind("/") + 1], path.rpartition("/")[2]
        found = {name: listing.files.get(start + name) for name in registry.get(format_name).beside(base)}
        small = {name: file for name, file in found.items() if file is not None and file.size <= SMALL}
        return {base: listing.files[path], **small}
    folders = ("", "checkpoints") if format_name == "llama_scope" else ("",)
    return {
        name: file for name, file in listing.below(path).items()
        if name.rpartition("/")[0] in folders and not NOT_NEEDED.search(name)
        and (name.endswith(WEIGHTS) or (name.endswith(CONFIGS) and file.size <= SMALL))
    }  # fmt: skip


def _all(listing: Listing, client: HubClient) -> tuple[Variant, ...]:
    def made_of() -> list[tuple[Variant, list[RepoFile]]]:
        found = _with_files(listing, client)
        if found:
            gated(trained_on(listing.repo_id, listing.info.base_models), client)
        return found

    if listing.complete:
        made = client.once(("variants", listing.repo_id, listing.revision), made_of)
    else:  # of this machine: nothing to keep, and nothing to ask
        made = _with_files(listing, client)
    # What is cached may have changed since, the rest not.
    result = []
    any_cached = repo_folder(client.cache_dir, listing.repo_id).is_dir()
    for variant, files in made:
        cached = any_cached and all(cached_file(client.cache_dir, listing, file) is not None for file in files)
        result.append(variant if cached == variant.cached else replace(variant, cached=cached))
    return tuple(result)


def _with_files(listing: Listing, client: HubClient) -> list[tuple[Variant, list[RepoFile]]]:
    formats: dict[frozenset[str], Format | None] = {}
    found = []
    for folder, names in sorted(_folders(listing).items(), key=lambda item: natural(item[0])):
        kind = frozenset(re.sub(r"\d+", "#", name) for name in names if name.endswith((*WEIGHTS, *CONFIGS)))
        if kind not in formats:
            formats[kind] = _format(listing, folder, client, by_name=len(formats) >= MOST_LOOKS)
        if (form := formats[kind]) is None:
            continue
        paths = [folder]
        if form.single_file:  # only the names tell which of several files are SAEs
            start = f"{folder}/" if folder else ""
            weights = [start + name for name in sorted(names, key=natural) if name.endswith(WEIGHTS)]
            paths = [path for path in weights if form.matches(HubSource(listing, path, client))]
        for path in paths:
            files = list(needed_files(listing, path, form.name).values())
            found.append((
                Variant(
                    repo_id=listing.repo_id, revision=listing.revision, path=path, format=form.name,
                    size_bytes=sum(file.size for file in files), files=tuple(sorted(file.path for file in files)),
                    from_cache=not listing.complete, **read_names(listing.repo_id, path),
                ),
                files,
            ))  # fmt: skip
    return found


def _folders(listing: Listing) -> Mapping[str, list[str]]:
    """Folders that hold weights themselves (or in ``checkpoints/``, as Llama Scope does) → their files' names."""
    names: dict[str, list[str]] = defaultdict(list)
    for path in listing.files:
        folder, _, base = path.rpartition("/")
        names[folder].append(base)
    found = {}
    for folder, bases in names.items():
        parent, _, last = folder.rpartition("/")
        if not any(base.endswith(WEIGHTS) and not NOT_NEEDED.search(base) for base in bases):
            continue
        if last == "checkpoints" and {"hyperparams.json", "ae.pt"} & set(names.get(parent, ())):
            if "hyperparams.json" in names[parent]:
                found[parent] = [*names[parent], *(f"checkpoints/{base}" for base in bases)]
            continue
        found[folder] = bases
    return found


def _format(listing: Listing, folder: str, client: HubClient, *, by_name: bool) -> Format | None:
    """The format of one folder; None if it is no SAE, or if its configuration cannot be read as one."""

    def not_read(name: str, _start: int, _length: int | None) -> bytes:
        raise FormatError("Not looked into.", where=name)

    source: Source = HubSource(listing, folder, client)
    if by_name:  # a repository of many kinds of folder: what names do not decide stays undecided
        source = ListedSource(source.label, source.files(), not_read)
    try:
        return registry.match(source)
    except (FormatError, ConfigError):
        return None


def _of_release(found: Sequence[Variant], place: HubReference) -> list[Variant]:
    """The variants in the release of `place`. Raises `NoSAEError` if it has none of them."""
    release = find_release(place.release or "")
    paths = set(release.ids.values()) if release is not None else set()
    kept = [variant for variant in found if variant.path in paths]
    if not kept:
        raise NoSAEError(
            f"The release {place.release} has no SAE at {place.path or 'the root'}.",
            where=place.repo_id,
            hint=f"The repository has: {place.repo_id}/{found[0].path}. Name it so for SAEs outside the release.",
        )
    return kept


def _inside(variant: Variant, path: str) -> bool:
    """Whether an SAE is at `path`, below it, or has it as one of its files."""
    return not path or variant.path == path or variant.path.startswith(path + "/") or path in variant.files


def _none(listing: Listing, place: HubReference) -> NoSAEError:
    """A sentence about what is there instead, and where SAEs of it are."""
    where = str(place) if place.path else listing.repo_id
    files = listing.below(place.path)
    if not files:
        return NoSAEError(f"There is nothing at {place.path} in {listing.repo_id}.", hint="Check the folder's name.")
    if known := registry.unread(files):
        return NoSAEError(f"No SAE found in {where}. {known[0]}", hint=known[1])
    largest = max(files.values(), key=lambda file: file.size)
    near = repos_for_model(listing.repo_id)
    if any(name.endswith(("model.safetensors", "pytorch_model.bin", ".index.json")) for name in files):
        what = f"No SAE found in {where}. It holds a language model ({largest.path}, {size(largest.size)})."
    else:
        what = f"No SAE found in {where}. Its largest file is {largest.path} ({size(largest.size)})."
    hint = f"SAEs trained on it: {', '.join(near)}." if near else "Known repositories are listed under that name."
    error = NoSAEError(what, hint=hint)
    error.suggestions = near
    return error


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts layer_2 before layer_10."""
    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part
    )


# --- What names say --------------------------------------------------------------------------------------------------

# As repositories write them; Gemma Scope's count thousands (65k), others' count 1,024s (64k).
WIDTHS = {f"{n}k": 1024 * n for n in (1, 2, 4, 8, 16, 24, 32, 64, 80, 128)} | {
    "65k": 1 << 16,
    "131k": 1 << 17,
    "262k": 1 << 18,
    "524k": 1 << 19,
    "1m": 1 << 20,
}
_SHORT = {  # of Gemma Scope and Llama Scope
    "res": "resid_post", "mlp": "mlp_out", "att": "attn_out", "transcoders": "transcoder",
    "R": "resid_post", "M": "mlp_out", "A": "attn_out", "TC": "transcoder",
}  # fmt: skip
_SITES = (  # first match wins; names of folders, repositories and hook points
    (r"hook_(resid_pre|resid_mid|resid_post|mlp_out|attn_out|mlp_in|embed)(?![a-z])", None),
    (r"attn\.hook_z|hook_z\b", "attn_out"),
    (r"(resid_post|resid_mid|resid_pre|attn_out|mlp_out|transcoder)(?:_all)?(?:/|_layer|$)", None),
    (r"(?:^|/)Llama3_1-8B-Base-L\d+(R|A|M|TC)-", None),
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


def read_names(repo_id: str, path: str) -> dict[str, Any]:
    """What of a `Variant` names alone tell: ``site layer width d_sae l0 canonical``, each None where they do not."""
    scope = re.search(r"/gemma-scope-\d+b-\w+-(res|mlp|att|transcoders)$", repo_id)
    site = _SHORT[scope[1]] if scope else _first_site(path) or _first_site(repo_id)
    width = _width(path) or _width(repo_id)
    layer = next((found[1] for pattern in _LAYERS if (found := re.search(pattern, path))), "")
    l0 = re.search(r"average_l0_(\d{1,5})(?!\d)", path) or re.search(r"-L0_(\d{1,4})(?!\d)", repo_id)
    # A power of two at the end of a name (…hook_resid_pre_24576 too) is the number of latents.
    number = re.search(r"_(\d{4,7})$", path)
    d_sae = int(number[1]) if number and int(number[1]) % 256 == 0 else None
    return {
        "site": "embedding" if path.startswith("embedding/") and scope else site,
        "layer": int(layer) if 0 < len(layer) < 5 else None, "width": width, "d_sae": WIDTHS.get(width or "") or d_sae,
        "l0": float(l0[1]) if l0 else published_l0(repo_id, path), "canonical": path in canonical_paths(repo_id),
    }


def _first_site(text: str) -> str | None:
    for pattern, site in _SITES:
        if found := re.search(pattern, text):
            return site or _SHORT.get(found[1], found[1])
    return None


def _width(text: str) -> str | None:
    """``"16k"``, ``"1m"``: as written after ``width_``, or as ``-W32K-``, ``-w-32k-``, ``-32k-`` between dashes."""
    for found in re.findall(r"(?:^|[_-])(?:width[_-]|[wW][_-]?)?(\d{1,3}[kKmM])(?=$|[_/-])", text):
        if found.lower() in WIDTHS:
            return str(found.lower())
    return None


# --- One SAE before it is downloaded ----------------------------------------------------------------------------------

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
_DESCRIBED = ("format", "architecture", "d_in", "d_out", "dtype", "hook_name", "config", "settings")
ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def preview(
    reference: str | HubReference, *, client: HubClient | None = None, device: str | None = None
) -> Preview:
    """Configuration, dimensions, format, size, memory and warnings of one SAE (see `Workspace.hub.preview`).

    After the repository's listing (which the client keeps, with what the look at it has read) it takes at most three
    requests and some ten kilobytes. Of pickled formats nothing but the size and a configuration beside them is known.
    In offline mode the files in the cache are looked at (`from_cache`), if all of the SAE are there.
    """
    client, place = client or HubClient(), parse_reference(reference)
    listing = look(place, client)
    variant = choose(variants(place, client=client, listing=listing), place)
    files = needed_files(listing, variant.path, variant.format)
    before = client.sent()
    description: Description = client.once(
        ("description", listing.repo_id, listing.revision, variant.path),  # a commit does not change
        lambda: registry.get(variant.format).describe(HubSource(listing, variant.path, client)),
    )
    named = description.model or trained_on(listing.repo_id, listing.info.base_models)
    model = hub_model(named) or named
    layers = [part for part in (description.hook_name or "").split(".") if part.isdigit()]
    sizes = {name: file.size for name, file in files.items() if name.endswith((".safetensors", ".npz", *PICKLES))}
    weights = sum(size for name, size in sizes.items() if name in description.files) or sum(sizes.values())
    item = ITEM_BYTES.get(description.dtype or "")  # None where only the weights tell their number format
    found = Preview(
        **{name: getattr(description, name) for name in _DESCRIBED}, repo_id=listing.repo_id, revision=listing.revision,
        path=variant.path, d_sae=description.d_sae or variant.d_sae, model=model,
        layer=int(layers[0]) if variant.layer is None and layers else variant.layer,
        total_bytes=sum(file.size for file in files.values()),
        download_bytes=missing_bytes(client.cache_dir, listing, list(files.values())),
        memory_bytes=math.ceil(weights / item * 4) if item else None, gpu_bytes=weights if item else None,
        cached=variant.cached, gated_model=gated(model, client), disk_free_bytes=free_bytes(client.cache_dir),
        from_cache=not listing.complete, requests=client.sent() - before,
    )  # fmt: skip
    warnings = list(_warnings(found, client.endpoint, device))
    if any(name.endswith(PICKLES) for name in files):
        warnings.append(_PICKLED)
    warnings += [HubWarning("note", note) for note in description.notes]
    return replace(found, warnings=(*warnings, *(() if listing.complete else (_OF_THE_CACHE,))))


def gated(model: str | None, client: HubClient) -> bool | None:
    """Whether a base model asks for a licence: by its name, else by asking the hub once (only a warning depends on it);
    None where it is not known."""
    repo = hub_model(model)
    if repo is None:
        return None
    if (known := gated_by_name(repo)) is not None:
        return known

    def look() -> bool | None:
        try:
            data, _ = client.get_json(f"{client.endpoint}/api/models/{quote(repo)}", tries=1)
        except NotFoundError:
            return None
        return bool(data.get("gated")) if isinstance(data, dict) else None

    try:
        return client.once(("gated", repo), look)
    except HubError:
        return None


def _warnings(found: Preview, endpoint: str, device: str | None) -> Iterator[HubWarning]:
    """Obstacles to using the SAE: a licence, too little memory on `device`, too little room on disk."""
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
