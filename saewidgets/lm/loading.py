"""Defines `LoadedModel`, `load_model` and `wrap_model`: language models by name, or as the user holds them; and
`can_fetch`, one short question to the hub before a model is loaded.

A loading library asks the hub for every file and repeats each question several times. Here one short question is asked
first; a hub that does not answer it is not asked again.
"""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import torch
from huggingface_hub import constants
from huggingface_hub import errors as hub
from huggingface_hub.utils import get_session, validate_repo_id  # type: ignore[attr-defined] # public, not declared
from safetensors import SafetensorError
from torch import nn

from saewidgets.config.names import is_local
from saewidgets.errors import ConfigError, FormatError, NotFoundError
from saewidgets.lm.forward import input_device
from saewidgets.lm.model_config import (
    CONFIG_FILE,
    cached_config,
    context_of,
    encodes,
    heads_of,
    is_encoder,
    local_folder,
    predicts_next,
    text_config,
    transformers,
)
from saewidgets.lm.remote_code import may_run_code
from saewidgets.lm.sites import find_blocks
from saewidgets.lm.token_ids import TokenIds
from saewidgets.settings import torch_device

Tell = Callable[[str], object]

LOADING = "loading model"
"""The phase in which files are read, and fetched where they are not here."""
DTYPES = ("float32", "bfloat16", "float16")

# transformers swaps torch's initialisers and default dtype while it builds a model: two builds must not overlap.
BUILDING = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A language model with its tokenizer."""

    model: nn.Module
    tokenizer: Any
    name: str  # hub id, folder, or what the user called it
    d_model: int  # width of the residual stream
    n_layers: int
    context: int | None  # longest one in tokens, if the configuration states it

    @property
    def device(self) -> torch.device:
        return input_device(self.model)

    @property
    def is_causal(self) -> bool:
        """Whether it predicts the next token. For an encoder (BERT), or a model without its output layer, there is no
        cross-entropy, no logit effect and no text to generate."""
        return predicts_next(self.model)

    def check_causal(self, what: str) -> None:
        """Raise `ConfigError` where the model does not predict the next token. `what` needs that: the beginning of a
        sentence."""
        if self.is_causal:
            return
        kind = "is an encoder" if encodes(self.model) else "has no output layer"
        raise ConfigError(
            f"{what} needs a model that predicts the next token; {self.name} {kind}.", where="model",
            hint="Use a causal language model, such as GPT-2, Pythia or Gemma.",
        )

    @property
    def dtype(self) -> torch.dtype:
        return next(p.dtype for p in self.model.parameters() if p.is_floating_point())

    @property
    def vocab_size(self) -> int:
        """Rows of the input embedding; every token id is below it."""
        return int(text_config(self.model).vocab_size)

    @property
    def n_heads(self) -> int | None:
        return heads_of(text_config(self.model))

    def fingerprint(self) -> str:
        """A short hash that differs when the weights do: names, shapes and 128 values of every parameter, so that a
        model of any size is checked in milliseconds."""
        digest = hashlib.sha256()
        for name, parameter in self.model.named_parameters():
            digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
            if parameter.numel() and not parameter.is_meta:  # meta: offloaded, its values are not in memory
                flat = parameter.detach().reshape(-1)
                index = torch.linspace(0, flat.numel() - 1, min(128, flat.numel()), dtype=torch.float64).long()
                digest.update(flat[index.to(flat.device)].float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def load_model(
    name_or_path: str, *, revision: str | None = None, dtype: str = "float32", device: str = "cpu",
    name: str | None = None, tell: Tell | None = None, trust_remote_code: bool = False,
) -> LoadedModel:
    """Load a language model and its tokenizer, ready to read: evaluation mode, no gradients.

    A causal model comes with its output layer, an encoder (BERT) with its masked-LM head if its files have one.

    Only safetensors weights are read (pickled ones can run code) and no code of the repository is executed unless
    allowed.

    Args:
        name_or_path: a Hugging Face id, a local folder, or "demo", the embedded model.
        revision: branch, tag or commit on the hub.
        dtype: "float32", "bfloat16" or "float16".
        device: a torch device string, such as "cpu", "cuda:0" or "cuda:1".
        name: how to call it; None: by its id, or the last part of its folder (files that people share name the model,
            and its place on this machine stays private).
        tell: called with what is being done with a model of the hub, in a few words.
        trust_remote_code: run the Python code in its repository, which can do whatever you can. `allow_remote_code`
            allows it for everything that loads the model in this process.

    Raises:
        NotFoundError: no such model, or it needs a token, or the hub cannot be reached; the message says which.
        FormatError: the files are damaged, pickled only, or need code of the repository.
        ConfigError: unknown dtype, no such device, or no name.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"{dtype!r} is not a number format.", where="model_dtype", hint=f"Use {', '.join(DTYPES)}.")
    if not name_or_path.strip():
        raise ConfigError("The name of the model is empty.", where="model", hint="Give a Hugging Face id or a folder.")
    place = torch_device(device)
    source, common = _source(name_or_path, revision, tell)
    common["trust_remote_code"] = trust_remote_code or common["trust_remote_code"]
    if tell is not None and not is_local(name_or_path):
        tell(LOADING)
    with explained(name_or_path), BUILDING, _no_bars() if common["local_files_only"] else nullcontext():
        config = transformers().AutoConfig.from_pretrained(source, **common)
        tokenizer = _tokenizer(source, config, common)
        model: Any = auto_class(config).from_pretrained(
            source, dtype=getattr(torch, dtype), use_safetensors=True, **common
        )
    model = model.to(place).eval().requires_grad_(False)
    return wrap_model(model, tokenizer, name=name or _public_name(name_or_path))


def auto_class(config: Any) -> Any:
    """The loader of a model: an encoder's output layer only where its files have one (it would be random)."""
    library = transformers()
    if not is_encoder(config.get_text_config()):
        return library.AutoModelForCausalLM
    masked = any(str(name).endswith("ForMaskedLM") for name in config.architectures or ())
    return library.AutoModelForMaskedLM if masked else library.AutoModel


def _source(name: str, revision: str | None, tell: Tell | None = None) -> tuple[str, dict[str, Any]]:
    """What transformers loads, and the settings of every `from_pretrained`."""
    local = is_local(name)
    return str(local_folder(name)) if local else name, {
        "trust_remote_code": may_run_code(name, revision),
        "local_files_only": local or not can_fetch(name, revision=revision, tell=tell),
        **({} if revision is None else {"revision": revision}),
    }  # fmt: skip


def load_tokenizer(name_or_path: str, *, revision: str | None = None) -> Any:
    """The tokenizer of a model alone; arguments and errors as for `load_model`."""
    source, common = _source(name_or_path, revision)
    with explained(name_or_path):
        config = transformers().AutoConfig.from_pretrained(source, **common)
        return _tokenizer(source, config, common)


_TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "*.model", "*.tiktoken", "special_tokens_map.json")


def _tokenizer(source: str, config: Any, common: dict[str, Any]) -> Any:
    """The tokenizer of a model; `TokenIds` if it has none, for which transformers fails or makes an empty one."""
    folder, ids = Path(source), TokenIds(int(config.get_text_config().vocab_size))
    if folder.is_dir() and not any(any(folder.glob(pattern)) for pattern in _TOKENIZER_FILES):
        return ids
    tokenizer = transformers().AutoTokenizer.from_pretrained(source, **common)
    return ids if len(tokenizer) <= len(getattr(tokenizer, "added_tokens_decoder", ())) else tokenizer


@contextmanager
def _no_bars() -> Iterator[None]:
    """No "Loading weights" bar: from a background thread it would land below whatever cell ran last. Downloads keep
    theirs."""
    from transformers.utils import logging  # seconds to import

    active = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if active:
            logging.enable_progress_bar()


def wrap_model(model: Any, tokenizer: Any, name: str | None = None) -> LoadedModel:
    """Take a model the user already holds: not copied, not moved, not changed.

    Args:
        model: a transformers language model (causal or an encoder) in any mode, on any device or spread over several.
            Of what ``torch.compile(model)`` returned, the model inside is used, which is not compiled.
        tokenizer: its tokenizer; a `TokenIds` if it has none.
        name: how to call it; its ``name_or_path`` if left out (of a folder the last part).

    Raises:
        ConfigError: no tokenizer was given, or the model was compiled in place.
        HookError: it has no list of blocks, or an encoder and a decoder.
    """
    if tokenizer is None:
        raise ConfigError(
            "A model object needs its tokenizer.", where="tokenizer", hint="Pass tokenizer=… with model=…."
        )
    if not hasattr(model, "config"):
        raise ConfigError(
            f"{type(model).__name__} is not a transformers model.", where="model",
            hint="Pass what AutoModelForCausalLM.from_pretrained returns; a name goes into the configuration.",
        )
    model = getattr(model, "_orig_mod", model)
    if any(getattr(module, "_compiled_call_impl", None) is not None for module in model.modules()):
        raise ConfigError(
            f"{type(model).__name__} was compiled in place, and compiled code does not run hooks.", where="model",
            hint="Load it again without model.compile(); the setting model_compile compiles what a run can use.",
        )
    config = text_config(model)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=name or _public_name(str(getattr(model, "name_or_path", "") or type(model).__name__)),
        d_model=int(config.hidden_size),
        n_layers=len(find_blocks(model)),
        context=context_of(config),
    )


def _public_name(name: str) -> str:
    return Path(name).expanduser().absolute().name if is_local(name) else name


# What the hub's library raises → what we raise instead.
_OF_THE_HUB: tuple[tuple[Any, str, str], ...] = (
    (
        hub.GatedRepoError, "Access to this model has to be granted first.",
        "Accept its terms on huggingface.co, then log in with `hf auth login` or set HF_TOKEN.",
    ),
    (hub.RevisionNotFoundError, "The model has no such revision.", "Check the branch, tag or commit."),
    (
        hub.RepositoryNotFoundError | hub.HFValidationError,
        "There is no such model on Hugging Face, or it is private.",
        (
            'Check the spelling (as in "openai-community/gpt2"); for a private model, `hf auth login` first; '
            "or give another one, or its folder, as model=."
        ),
    ),
)
_UNREACHABLE = (
    hub.LocalEntryNotFoundError | hub.OfflineModeIsEnabled | ConnectionError,
    "Hugging Face cannot be reached, and the model is not, or not completely, on this machine.",
    'Connect to the network, give the path of a local folder, or use "demo".',
)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn what transformers and the hub raise into one sentence that says what to do."""
    try:
        yield
    except (NotFoundError, FormatError, ConfigError):
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        kind, what, hint = _sorted_out(error, name)
        raise kind(what, where=name, hint=hint) from error


def _sorted_out(error: Exception, name: str) -> tuple[type[NotFoundError | FormatError], str, str]:
    causes: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in causes:
        causes.append(current)
        current = current.__cause__ or current.__context__
    text = " ".join(str(cause) for cause in causes)
    for kinds, what, hint in _OF_THE_HUB:
        if any(isinstance(cause, kinds) for cause in causes):
            return NotFoundError, what, hint
    if "trust_remote_code" in text:
        hint = (
            "Choose a model that transformers supports. Or read that code, and if you trust it call "
            f"saewidgets.allow_remote_code({name!r}, revision=COMMIT) first, or in a terminal set "
            f"SAEWIDGETS_TRUST_REMOTE_CODE={name}@COMMIT."
        )
        return FormatError, "This model needs code from its repository, which is not run unless you allow it.", hint
    if ".safetensors" in text and isinstance(error, OSError):
        what = "The repository has no safetensors weights; pickled weights can run code and are not read."
        return FormatError, what, "Convert it to safetensors, or load it yourself and pass model=… and tokenizer=…."
    kinds, what, hint = _UNREACHABLE
    if any(isinstance(cause, kinds) for cause in causes):
        return NotFoundError, what, hint
    if isinstance(error, OSError):
        hint = 'Check the spelling and the network, give a local folder, or use "demo".'
        return NotFoundError, f"The model could not be loaded: {_first_line(error)}", hint
    hint = "Download it again, or choose a model that transformers supports."
    return FormatError, f"The model's files cannot be read: {_first_line(error)}", hint


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip() if lines else type(error).__name__


LOOKING = "looking for the model on the hub"
"""The phase in which the hub is asked."""
TRIES = 3
TRY_SECONDS = 4.0
SECONDS = 6.0  # for all tries together: with imports, an answer within ten
_WAIT = 0.5  # before the second try; twice as long before the third
_PATIENT = 10.0  # huggingface_hub's own HF_HUB_ETAG_TIMEOUT: who raises it has a slow network

_WAYS_OUT = (
    'Or give "demo", or the folder of a model that is here; HF_HOME says where downloads are. A gated or private model '
    "needs `hf auth login`, too."
)


def can_fetch(name: str, *, revision: str | None = None, tell: Tell | None = None) -> bool:
    """Whether the hub is to be asked for the files of a model; False where only this machine can be.

    A model that is in the cache is asked for once, so that a newer version is seen; another one up to three times, six
    seconds in all (longer where HF_HUB_ETAG_TIMEOUT is above ten). Raises `NotFoundError` where there is neither."""
    try:
        validate_repo_id(name)
    except hub.HFValidationError:
        return True  # the loading says what is wrong with the name
    url = f"{constants.ENDPOINT.rstrip('/')}/{name}/resolve/{quote(revision or 'main', safe='')}/{CONFIG_FILE}"
    here = cached_config(name, revision) is not None
    if constants.HF_HUB_OFFLINE:
        problem: str | None = "HF_HUB_OFFLINE is set"
    else:
        problem = _problem(url, 1 if here else TRIES, tell)
    if problem is None:
        return True
    if here:
        return False
    raise NotFoundError(
        f"Hugging Face cannot be reached ({problem}), and the model is not on this machine.", where=name,
        hint=f"{'Unset it' if constants.HF_HUB_OFFLINE else 'Check the network'}. {_WAYS_OUT}",
    )


def _problem(url: str, tries: int, tell: Tell | None) -> str | None:
    """Why the hub does not answer; None as soon as it answers anything."""
    more = max(0.0, constants.HF_HUB_ETAG_TIMEOUT - _PATIENT)
    end = time.monotonic() + SECONDS + more
    problem: str | None = None
    for number in range(1, tries + 1):
        left = end - time.monotonic()
        if number > 1:
            wait = _WAIT * 2 ** (number - 2)
            if left <= 2 * wait:
                break
            time.sleep(wait)
            left -= wait
        if tell is not None:
            tell(LOOKING if number == 1 else f"{LOOKING} (try {number} of {tries})")
        problem = _ask(url, min(TRY_SECONDS + more, left))
        if problem is None:
            return None
    return problem


def _ask(url: str, seconds: float) -> str | None:
    """One question; the problem with its answer. In a thread of its own: looking up a host has no time-out of its own.

    No token: whether the model may be read is found out when it is.
    """
    problems: list[str | None] = []

    def ask() -> None:
        session: Any = get_session()
        # httpx, or requests before huggingface_hub 1.0
        redirects = "follow_redirects" if callable(getattr(session, "stream", None)) else "allow_redirects"
        try:
            status = int(session.head(url, timeout=seconds, **{redirects: False}).status_code)
            problems.append(f"it answers with error {status}" if status >= 500 else None)
        except Exception as error:  # noqa: BLE001 - of two network libraries; what it says is passed on
            problems.append(_words(error))

    thread = threading.Thread(target=ask, name="saewidgets-hub-probe", daemon=True)
    thread.start()
    thread.join(seconds + 0.1)
    host = urlsplit(url).netloc.rpartition("@")[2]
    return problems[0] if problems else f"no answer from {host} within {seconds:.0f} s"


def _words(error: Exception) -> str:
    """The network's own words, on one line; an exception without any by its name."""
    text = re.sub(r"//[^\s/@]+@", "//…@", " ".join(str(error).split()))  # a proxy's address can have a password in it
    text = re.sub(r"\[Errno -?\d+\] ", "", text)  # its words follow
    return text[:200].rstrip(".") or type(error).__name__
