"""Estimates a run before it starts: memory by part, disk, and time where a rate is known. No torch.

Sizes come from the shapes alone. What the allocator keeps back, and what a library needs at its peak, is only a
rough addition ("Working memory"), so the estimate is to be read as "about this much".
`model_flops` and `sae_flops` count the work of a run, so that a rate measured with one run (or with one matrix
product) tells something about another. Evaluations are counted by themselves; `with_evaluations` decides by that
count, not by a clock, how many a run has: it has the same ones wherever and however often it is resumed.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from saewidgets.config.hook_names import layer_of
from saewidgets.config.training import TrainingConfig
from saewidgets.training.schedules import PER_RUN, checkpoint_interval, evaluation_interval

_FLOAT = 4
_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_RUNTIME_BYTES = {"cpu": 300 * 2**20, "cuda": 600 * 2**20}  # torch with its kernels loaded
_EVALUATION_BLOCK = 2**28  # evaluation holds at most this much of logits, and of latents, at once
SPARSE = frozenset({"topk", "batchtopk", "matryoshka"})
# Work that is bound by memory, as operations of a matrix product that takes as long (docs/training.md).
_ADAM = 300  # per parameter: 28 bytes read and written; a core moves about one byte in the time of ten operations
_GATHER = 4  # times slower than a product: rows of W_dec are read one by one
_SELECT = 60  # per latent: pre-activations written, read again, compared
_LOW = 1 / 4  # time of a product in bfloat16 or float16, in that of one in float32: evaluations are in float32
KEPT_BYTES = 1 << 26  # most memory for what the model makes of the evaluated text, which is kept between evaluations
_SHARE = 0.04  # of the operations of a run for evaluations: at most 5 % of its time, as the count is rough
_FEWEST = 3  # evaluations, before they read less text
_TOKENS = (16_384, 8_192)  # of one evaluation; on fewer, the error of text with heavy-tailed norms is noise
_LEAST = 256  # of the cross-entropy, which takes the rest of the model and its output layer


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Sizes of a language model. What is not known is None and left out of the estimate."""

    parameters: int | None
    d_model: int
    n_layers: int
    vocab_size: int | None = None
    is_causal: bool = True  # whether it predicts the next token


Label = Literal["Model", "SAE", "Activations", "Working memory"]


@dataclass(frozen=True, slots=True)
class MemoryPart:
    """One part of the memory."""

    label: Label
    bytes: int


@dataclass(frozen=True, slots=True)
class OtherDeviceMemory:
    """Memory on another device than the SAE's: of the language model, or of the shuffle window."""

    device: str
    memory: tuple[MemoryPart, ...]

    @property
    def total_bytes(self) -> int:
        return sum(part.bytes for part in self.memory)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Memory on the device, disk in the workspace, and time."""

    device: str
    memory: tuple[MemoryPart, ...]  # the parts, largest reasons first as they are drawn
    disk_bytes: int  # checkpoints that stay, the one being written, the exported SAE and the packed text
    seconds: float | None  # of the whole run; None when no rate is known
    tokens_per_second: float | None  # the rate it was computed from
    basis: str  # the origin of the rate, for the reader
    elsewhere: tuple[OtherDeviceMemory, ...] = ()  # what other devices hold

    @property
    def total_bytes(self) -> int:
        return sum(part.bytes for part in self.memory)


def estimate_together(
    configs: Sequence[TrainingConfig],
    model: ModelSize,
    widths: Mapping[str, int],
    *,
    rate: float | None = None,
    device: str = "cpu",
) -> Estimate:
    """Estimate trainings that share one forward. `widths` are those of the activations, by hook point; `rate` is
    training tokens per second. A batch and the working memory count once, since trainings take turns."""
    first, hooks = configs[0], dict.fromkeys(name for each in configs for name in each.hook_names)
    place, kept = first.model_device or device, first.activations.buffer_device or device
    unloaded = first.corpus.kind == "activations" and not first.corpus.cross_entropy
    works = [_work(each, model, widths[each.hook_name]) for each in configs]
    memory: defaultdict[str, Counter[Label]] = defaultdict(Counter)  # by device
    memory[place]["Model"] += 0 if unloaded else (model.parameters or 0) * _DTYPE_BYTES[first.model_dtype]
    # Weights, gradients, Adam's two moments.
    memory[device]["SAE"] += sum(
        4 * sae_parameters(each, widths[each.hook_name]) // each.parallel.latents * _FLOAT for each in configs
    )
    ahead = reads_ahead(first, device)
    memory[kept]["Activations"] += sum((1 + ahead) * _window_bytes(first, widths[name]) for name in hooks)
    memory[device]["Activations"] += max(
        len(each.hook_names) * each.batch_size * widths[each.hook_name] * _FLOAT for each in configs  # with targets
    )
    together, of_sae, of_model = map(max, zip(*works, strict=True))
    if place == device:
        memory[device]["Working memory"] += together + _runtime(device)
    else:
        memory[device]["Working memory"] += of_sae + _runtime(device)
        memory[place]["Working memory"] += of_model + _runtime(place)
    parts = {each: tuple(MemoryPart(*part) for part in found.items()) for each, found in memory.items()}
    disk = sum(disk_bytes(each, widths[each.hook_name]) for each in configs)
    disk -= (len(configs) - 1) * _packed_bytes(first)
    # Epochs become tokens once the text is packed: before, their number is unknown.
    seconds = first.steps * first.batch_size / rate if rate and first.epochs is None else None
    elsewhere = tuple(OtherDeviceMemory(each, found) for each, found in parts.items() if each != device)
    return Estimate(device, parts[device], disk, seconds, rate or None, "estimated" if rate else "", elsewhere)


def reads_ahead(config: TrainingConfig, device: str) -> bool:
    """Whether there are two windows: one is trained on while the next is computed, or read from a store."""
    if config.corpus.kind == "activations":
        return True
    choice = config.activations.read_ahead
    return choice == "on" or (choice == "auto" and config.model_device not in (None, device))


def _runtime(device: str) -> int:
    return _RUNTIME_BYTES.get(device.split(":")[0], _RUNTIME_BYTES["cuda"])


# Floating-point operations: a product of [m, n] and [n, p] counts 2 m n p. With `sparse`, k-sparse latents are decoded
# as such (the CPU's kernels), not as a dense matrix.
def with_evaluations(config: TrainingConfig, model: ModelSize, held_out: int | None = None) -> TrainingConfig:
    """`config` with what it leaves empty of `evaluation` filled in, so that evaluations take at most 5 % of the run's
    time: up to ten on 16,384 tokens; in a short run three on 8,192, with the cross-entropy on fewer. If even these took
    over 10 % there is one, however long it takes. `held_out`: the number of tokens there are, if it is known."""
    given, work = config.evaluation, _training_cost([config], model) * config.steps * config.batch_size
    budget = _SHARE * work / config.parallel.workers  # the first evaluates, the others wait

    def fit(number: int, tokens: int, ce_tokens: int, times: int = 1) -> bool:
        return _evaluations_cost(config, model, number, min(tokens, held_out or tokens), ce_tokens) <= times * budget

    fewest = math.ceil(config.steps / given.every_steps) if given.every_steps else min(_FEWEST, config.steps)
    sizes = (given.tokens,) if given.tokens else _TOKENS
    tokens = next((each for each in sizes if fit(fewest, each, each // 4)), sizes[-1])
    least = given.ce_tokens or given.tokens or _LEAST
    if not (given.every_steps or fit(fewest, tokens, least, times=2)):
        fewest = 1
    ce_tokens = given.ce_tokens
    if not (ce_tokens or given.tokens):
        parts = [tokens >> n for n in range((tokens // _LEAST).bit_length())]
        ce_tokens = next((each for each in parts if fit(fewest, tokens, each)), _LEAST)
    number = next((each for each in range(PER_RUN, fewest, -1) if fit(each, tokens, ce_tokens or tokens)), fewest)
    every = given.every_steps or math.ceil(config.steps / number)
    return config.replace(evaluation={"every_steps": every, "tokens": tokens, "ce_tokens": ce_tokens})


def evaluation_share(configs: Sequence[TrainingConfig], model: ModelSize, *, sparse: bool = True) -> float:
    """Work of all evaluations of trainings that share one forward, as a share of that of their training."""
    deepest, total = max(configs, key=_blocks), 0.0
    for config in (with_evaluations(each, model) for each in configs):
        number, read = math.ceil(config.steps / evaluation_interval(config)), config.evaluation
        tokens, ce_tokens = read.tokens or _TOKENS[0], read.ce_tokens or read.tokens or _LEAST
        shares = config.hook_names != deepest.hook_names  # what comes before its hook
        total += _evaluations_cost(config, model, number, tokens, ce_tokens, sparse=sparse, shares=shares)
    return total / (_training_cost(configs, model, sparse=sparse) * configs[0].steps * configs[0].batch_size)


def _training_cost(configs: Sequence[TrainingConfig], model: ModelSize, *, sparse: bool = True) -> float:
    """Work per training token, in operations of a float32 product."""
    forward = max(model_flops(each, model) * _slowness(each.model_dtype) for each in configs)
    return forward + sum(
        sae_flops(each, model.d_model, sparse=sparse) * _slowness(each.precision) for each in configs
    )


def _evaluations_cost(
    config: TrainingConfig, model: ModelSize, number: int, tokens: int, ce_tokens: int, *, sparse: bool = True,
    shares: bool = False,
) -> float:  # fmt: skip
    """Work of `number` evaluations on `tokens` tokens, in operations of a float32 product. The first takes a forward to
    the hook (unless it `shares` another's), each one the autoencoder's own forward, and again the forward to the hook
    where that is not kept. On `ce_tokens` of them, the first also takes two forwards from the hook on, of the model by
    itself and with zeros in the place, and each one another."""
    tokens = math.ceil(tokens / config.context_size) * config.context_size
    ce_tokens = min(tokens, math.ceil(ce_tokens / config.context_size) * config.context_size)
    own = number * tokens * _reconstruction_flops(config, model.d_model, sparse)
    if config.corpus.kind == "activations" and not config.corpus.cross_entropy:
        return own
    block, before = 2 * _block_parameters(model) + 4 * config.context_size * model.d_model, 0.0
    vectors = tokens * len(config.hook_names) + ce_tokens * model.is_causal
    is_kept = vectors * model.d_model * _DTYPE_BYTES[config.model_dtype] <= KEPT_BYTES
    if not shares:
        before = _blocks(config) * block * (1 if is_kept else number)
    behind = 0.0
    if model.is_causal:
        behind = block * max(0, model.n_layers - _blocks(config)) + (2 * model.d_model + _SELECT) * (
            model.vocab_size or 0
        )
    return own + _slowness(config.model_dtype) * (tokens * before + ce_tokens * (2 + number) * behind)


def _slowness(dtype: str) -> float:
    return 1.0 if dtype == "float32" else _LOW


def model_flops(config: TrainingConfig, model: ModelSize) -> float:
    """FLOPs of the language model up to the (deeper) hook, per training token: BOS and positions outside `seqpos_slice`
    are read but not trained on. 0 where stored activations are read."""
    if config.corpus.kind == "activations":
        return 0.0
    attention = 4 * config.context_size * model.d_model  # scores, and values by scores
    settings = config.activations
    used = len(settings.positions(config.context_size))
    used -= used > 1 and settings.exclude_special_tokens and 0 in settings.positions(config.context_size)
    return _blocks(config) * (2 * _block_parameters(model) + attention) * config.context_size / used


def sae_flops(config: TrainingConfig, d_in: int, *, sparse: bool = True) -> float:
    """FLOPs of the autoencoder's forward, backward and optimiser step, per training token."""
    sae = config.sae
    adam = _ADAM * sae_parameters(config, d_in) / config.batch_size
    if sae.architecture in SPARSE and sparse:
        active = getattr(sae, "k", 0)
        # Encoding is dense, the four other products touch k latents only.
        return 2 * d_in * sae.d_sae + 8 * d_in * active * _GATHER + _SELECT * sae.d_sae + adam
    # Encode, decode, and the gradients of the latents and of both matrices; a gate is decoded, too.
    products = 16 if sae.architecture == "gated" else 10
    return products * d_in * sae.d_sae + _SELECT * sae.d_sae + adam


def _reconstruction_flops(config: TrainingConfig, d_in: int, sparse: bool) -> float:
    """FLOPs of the autoencoder's forward, per token."""
    sae = config.sae
    chosen = sae.architecture in SPARSE and sparse
    decoding = 2 * d_in * (getattr(sae, "k", 0) * _GATHER if chosen else sae.d_sae)
    return (2 * d_in + _SELECT) * sae.d_sae + decoding


def _blocks(config: TrainingConfig) -> int:
    """How many blocks of the model run before its (deeper) hook."""
    return max(layer_of(name) + (0 if name.endswith("resid_pre") else 1) for name in config.hook_names)


def _block_parameters(model: ModelSize) -> float:
    """Parameters of one block: what the embeddings leave (they may be tied or not), 12 d² where nothing is known
    (attention 4 d², a feed-forward layer of width 4 d 8 d²)."""
    usual = 12 * model.d_model**2
    if model.parameters is None or not model.n_layers:
        return usual
    embedding = (model.vocab_size or 0) * model.d_model
    tied, untied = ((model.parameters - n * embedding) / model.n_layers for n in (1, 2))
    if untied >= 0.9 * usual:
        return untied
    return tied if tied > 0 else usual


def sae_parameters(config: TrainingConfig, d_in: int) -> int:
    """Trained numbers. A transcoder's output counts as as wide as its input where the configuration does not say."""
    sae = config.sae
    d_out = getattr(sae, "d_out", None) or d_in
    own = {"jumprelu": sae.d_sae, "gated": 2 * sae.d_sae, "skip_transcoder": d_in * d_out}
    learned = 1 if getattr(sae, "learn_skip", False) else 0
    return (d_in + d_out) * sae.d_sae + sae.d_sae + d_out + own.get(sae.architecture, 0) + learned


def disk_bytes(config: TrainingConfig, d_in: int) -> int:
    """Bytes on disk at the peak: kept checkpoints, one more while it is written, the exported SAE, the packed text."""
    weights = sae_parameters(config, d_in) * _FLOAT
    checkpoint = 3 * weights + 8 * config.sae.d_sae + _whitening_bytes(config, d_in)
    every = checkpoint_interval(config)
    kept = 2 if not config.checkpoints.keep_every else max(2, config.steps // every + 1)
    return (kept + 1) * checkpoint + weights + _packed_bytes(config)


def _whitening_bytes(config: TrainingConfig, d_in: int) -> int:
    """The map and its inverse, in float64, where inputs are whitened."""
    return 2 * 8 * d_in * d_in if config.activations.normalize == "covariance_whitening" else 0


def _window_bytes(config: TrainingConfig, d_in: int) -> int:
    """The shuffle window of one hook point, in the model's number format."""
    batches = max(1, round(config.activations.shuffle_tokens / config.batch_size))
    window = batches * config.batch_size
    return window * d_in * _DTYPE_BYTES[config.model_dtype]


def _packed_bytes(config: TrainingConfig) -> int:
    """An upper bound: text that repeats is stored once. Of stored activations nothing is packed."""
    return 0 if config.corpus.kind == "activations" else 2 * config.tokens


def _work(config: TrainingConfig, model: ModelSize, d_in: int) -> tuple[int, int, int]:
    """Bytes that a training step and an evaluation hold for a moment: on one device (the larger of a step with a
    forward, and an evaluation); else for the SAE, and for the language model."""
    rows = config.batch_size // config.gradient_accumulation // config.parallel.data
    d_sae = config.sae.d_sae // config.parallel.latents
    dense = 2 if config.sae.architecture in SPARSE else 4  # pre-activations, latents, their gradients: [rows, d_sae]
    tokens = config.activations.model_batch_size * config.context_size
    step = rows * (dense * d_sae + 6 * d_in) * _FLOAT
    forward = tokens * 12 * model.d_model * _DTYPE_BYTES[config.model_dtype]
    logits = 2 * min(tokens * (model.vocab_size or 0) * _FLOAT, _EVALUATION_BLOCK)
    latents = 2 * min(tokens * config.sae.d_sae * _FLOAT, _EVALUATION_BLOCK) + 4 * tokens * d_in * _FLOAT
    whitening = _whitening_bytes(config, d_in)  # as its sums and eigenvectors while measured
    together = forward + max(step, logits + latents) + whitening
    return together, max(step, latents) + whitening, forward + logits + whitening
