"""Starts a run from an existing SAE instead of random weights.

The SAE that is loaded reads raw activations. Training may scale (s) or whiten them, and may keep decoder rows at norm
one, so the weights are brought into the form that training has, without a change of what they compute:

    W_enc / s,  W_dec · s,  b_dec · s                             (a transcoder's output by its own scale;
                                                                  of a whitening see `saewidgets.sae.scaler`)
    rows of W_dec by their norms n_i,  columns of W_enc and what is added to or compared with pre-activations times n_i
    b_enc + b_dec W_enc where training centres its input and the SAE did not; the other way round with a minus
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saewidgets.config.training import TrainingConfig
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.formats import describe, load_sae
from saewidgets.sae import SAE
from saewidgets.sae.scaler import Scaler, shift_biases, unfold_whitening

WHERE = "from_pretrained"


@dataclass(frozen=True, slots=True)
class Pretrained:
    """An SAE to start from: where it is, and what a person calls it."""

    path: Path
    label: str


Find = Callable[[str], Pretrained]
"""The SAE that a configuration names. Raises `NotFoundError`."""

_BY_THRESHOLD = ("batchtopk", "matryoshka")  # exported as a jumprelu with one threshold for all latents
_AS = {"batchtopk": "jumprelu", "matryoshka": "jumprelu", "skip": "skip_transcoder"}  # what they are exported as
_COMPETE = ("topk", *_BY_THRESHOLD)
_SMALLEST = 1e-6  # thresholds are learned as logarithms; what lies between this and zero is of no account
_EQUAL = 1e-3  # relative: norms or thresholds that differ by less are one value, stored in half precision


def as_path(named: str) -> Pretrained:
    """The path without a library: a folder or file. Raises `NotFoundError` if there is none."""
    path = Path(named).expanduser()
    if not path.exists():
        raise NotFoundError(f"There is no SAE {named!r}.", where=WHERE, hint="Give the folder of an SAE.")
    return Pretrained(path, path.name)


@contextmanager
def naming() -> Iterator[None]:
    """Errors at the files of the SAE name the setting as well."""
    try:
        yield
    except SAEWidgetsError as error:
        if error.where == WHERE:
            raise
        what = f"{error.where}: {error.what}" if error.where else error.what
        raise ConfigError(f"The SAE to start from cannot be used. {what}", where=WHERE, hint=error.hint) from error


def check(config: TrainingConfig, find: Find) -> None:
    """Whether training can start from what `config` names, if anything, as far as headers tell; reads no weight. Raises
    `NotFoundError`, and `ConfigError` where it is damaged, or of another architecture, size or normalisation."""
    if config.from_pretrained is None:
        return
    with naming():
        found = describe(find(config.from_pretrained).path)
        sizes = {"d_sae": (found.d_sae, config.sae.d_sae)}
        _compare(config, found.architecture, sizes, dict(found.settings))


@naming()
def start_from(sae: SAE, path: Path, config: TrainingConfig, scaler: Scaler) -> list[str]:
    """Give `sae` the weights of the SAE at `path`; returns what a person should read, as sentences. Where it does not
    fit, is gone, or is damaged, `sae` is as it was."""
    source = load_sae(path, dtype=torch.float32)
    sizes = {name: (getattr(source, name), getattr(sae, name)) for name in ("d_sae", "d_in", "d_out")}
    settings = source.cfg.model_dump()
    tensors = {name: tensor.clone() for name, tensor in source.inference_tensors().items()}
    if sae.cfg.architecture == "skip" and "W_skip" in tensors:
        settings["skip_scale"] = _share(tensors.pop("W_skip"))
    notes = _compare(config, source.cfg.architecture, sizes, settings)
    if (centred := sae.cfg.apply_b_dec_to_input) != bool(settings["apply_b_dec_to_input"]):
        # Move b_dec between the encoder's input and its biases.
        shift_biases(tensors, tensors["b_dec"] @ tensors["W_enc"] * (1.0 if centred else -1.0))
    if scaler.whitening is not None:
        unfold_whitening(tensors, scaler.whitening, centred=centred)
    elif config.activations.normalize == "expected_average_only_in":
        tensors["W_enc"] /= scaler.factor
        tensors["W_dec"] *= scaler.out
        tensors["b_dec"] *= scaler.out
        if "W_skip" in tensors:
            tensors["W_skip"] *= scaler.out / scaler.factor
    if config.optimizer.normalize_decoder_every is not None:
        _unit_rows(tensors, sae.cfg.architecture)
    sae.load_state_dict(_state(sae, tensors, settings))
    if (hook_name := source.metadata.get("hook_name")) not in (None, config.hook_name):
        notes.append(f"The SAE to start from was trained at {hook_name}, not at {config.hook_name}.")
    return notes


def _compare(
    config: TrainingConfig, architecture: str | None, sizes: dict[str, tuple[int | None, int]],
    settings: dict[str, Any],
) -> list[str]:
    """Raises `ConfigError` where the SAE computes something else than `config` would; returns what may differ."""
    wanted = config.autoencoder
    if architecture not in (None, wanted.architecture, _AS.get(wanted.architecture)):
        raise ConfigError(
            f"The SAE to start from is a {architecture}, not a {wanted.architecture}.", where=WHERE,
            hint=f"Choose the architecture {architecture}, or another SAE.",
        )
    for name, (found, ours) in sizes.items():
        if found is not None and found != ours:
            raise ConfigError(
                f"The SAE to start from has {name} {found:,}, this training {ours:,}.", where=WHERE,
                hint="Choose the same, or another SAE." if name == "d_sae" else "Is it of this model and hook point?",
            )
    fields = {"normalize_activations": "activations.normalize"}
    if wanted.architecture == "skip" and not getattr(wanted, "learn_skip", False):
        fields["skip_scale"] = "sae.skip_scale"
    for name, field in fields.items():
        ours, found = getattr(wanted, name), settings.get(name)
        same = math.isclose(found, ours, rel_tol=_EQUAL) if isinstance(found, float) else found in (None, ours)
        if not same:
            raise ConfigError(
                f"The SAE to start from has {name} {found}, this training {ours}.", where=WHERE,
                hint=f"Set {field} to {found}, or choose another SAE.",
            )
    if settings.get("k") is not None and getattr(wanted, "k", settings["k"]) != settings["k"]:
        return [f"The SAE to start from keeps {settings['k']:,} latents; here k is {getattr(wanted, 'k', None):,}."]
    return []


def _share(W_skip: Tensor) -> float:
    """The share of the input that a skip autoencoder adds, of the path that SAELens has in its place."""
    share = W_skip.diagonal().mean()
    if not torch.allclose(W_skip, share * torch.eye(len(W_skip)), atol=_EQUAL):
        raise ConfigError(
            "The SAE to start from has a linear path that is not a multiple of the identity.", where=WHERE,
            hint="Choose the architecture skip_transcoder.",
        )
    return round(float(share), 6)


def _unit_rows(tensors: dict[str, Tensor], architecture: str) -> None:
    """Decoder rows of norm one; rows of zeros stay."""
    norms = tensors["W_dec"].norm(dim=1)
    norms = torch.where(norms > 0, norms, torch.ones(()))
    if architecture in _COMPETE and not _one_value(norms):
        raise ConfigError(
            "The SAE to start from has decoder rows of different norms, and which latents are kept depends on them.",
            where=WHERE, hint="Leave optimizer.normalize_decoder_every empty and set optimizer.project_decoder_grad "
            "to no.",
        )  # fmt: skip
    tensors["W_dec"] /= norms[:, None]
    tensors["W_enc"] *= norms
    for name in ("b_enc", "b_gate", "b_mag", "threshold"):
        if name in tensors:
            tensors[name] = tensors[name] * norms


def _one_value(values: Tensor) -> bool:
    return bool(values.max() - values.min() <= _EQUAL * values.abs().max())


def _state(sae: SAE, tensors: dict[str, Tensor], settings: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors by the names that they have in training."""
    architecture = sae.cfg.architecture
    threshold = tensors.pop("threshold", None)
    if architecture == "jumprelu":
        assert threshold is not None
        is_log = getattr(sae.cfg, "threshold_parameter", "") == "log"
        tensors["log_threshold" if is_log else "threshold"] = (
            threshold.clamp_min(_SMALLEST).log() if is_log else threshold.clamp_min(0.0)
        )
    elif architecture in _BY_THRESHOLD:
        assert threshold is not None
        if not _one_value(threshold):
            raise ConfigError(
                f"The SAE to start from has a threshold of its own for every latent, a {architecture} has one for all.",
                where=WHERE, hint="Choose the architecture jumprelu.",
            )
        tensors["threshold"] = threshold.mean()
    if getattr(sae, "skip", None) is not None:
        share, most = float(settings["skip_scale"]), float(getattr(sae.cfg, "skip_max", 1.0))
        if not 0 <= share <= most:
            raise ConfigError(
                f"The SAE to start from adds {share:g} of its input to the reconstruction, more than may be learned.",
                where=WHERE, hint=f"A learned share stays between 0 and sae.skip_max, which is {most:g}.",
            )
        tensors["skip"] = torch.tensor(share)
    return tensors
