"""Defines `analyze_sae`: what every latent of an SAE fires on in some text, in one call and without a workspace.

    interpretations = analyze_sae("layer_6_best.pt", "gpt2", texts, save_dir="results/interpretations")
    print_feature_summary(interpretations[12])
"""

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from saewidgets.activations import open_corpus, pack
from saewidgets.config.arguments import optional_text, refuse
from saewidgets.config.arguments import path as take_path
from saewidgets.config.base import require
from saewidgets.config.corpus import CorpusConfig, TextCorpus
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.config.names import check_revision
from saewidgets.errors import ConfigError
from saewidgets.feature_records import check_index
from saewidgets.features.extraction import extract
from saewidgets.features.labels import interpret_features, write_interpretations
from saewidgets.features.store.read import FeatureStore
from saewidgets.hub.load_from_hub import load_sae
from saewidgets.lm import LoadedModel, check_context
from saewidgets.sae import SAE
from saewidgets.settings import resolve_device
from saewidgets.workspace.checked import numbers
from saewidgets.workspace.extraction.extraction_job import checked
from saewidgets.workspace.library.sae_files import layer_of
from saewidgets.workspace.live import ModelReference, load
from saewidgets.workspace.reading.store_examples import StoreExamples
from saewidgets.workspace.subjects import CONTEXT, KnownSAE, unlisted_subject
from saewidgets.workspace.user_models import take

_PLAIN = re.compile(r"[\w.+\- ]{1,120}")


def analyze_sae(
    sae: SAE | str | Path,
    model: Any = None,
    texts: Sequence[str] | None = None,
    *,
    corpus: Any = None,
    tokenizer: Any = None,
    save_dir: str | Path | None = None,
    name: str | None = None,
    hook_name: str | None = None,
    features: Iterable[int] | None = None,
    config: ExtractionConfig | Mapping[str, Any] | None = None,
) -> dict[int, dict[str, Any]]:
    """What every latent of an SAE fires on in some text: one pass, and an interpretation per latent.

    It blocks until it is done and keeps nothing but its result; `Workspace.extractions` does the same as a job, and
    keeps the examples for `ExtractionViewer`.

    Args:
        sae: a loaded SAE; or a path or a repository of the hub, as `load_sae` takes it.
        model: a Hugging Face id, a folder, ``"demo"``, or a loaded transformers model with its `tokenizer`. None: the
            one that the SAE names.
        texts: strings to read, one document each.
        corpus: instead of `texts`: ``"demo"``, a path, a list of paths, or a `TextCorpus`.
        save_dir: a folder for ``NAME_interpretations.json``, which is made; a file of that name is replaced.
        name: begins the file's name. None: ``layer_L`` of the hook point, else the name of the SAE's file.
        hook_name: where the SAE reads, such as ``"blocks.6.hook_resid_post"``. None: where the SAE says.
        features: numbers of the latents to interpret; None: all.
        config: how to read, an `ExtractionConfig` or its fields (``{"tokens": 100_000, "context_size": 64}``); what it
            says of model and corpus counts where the arguments do not.

    Returns:
        By the number of the latent what `features.labels.interpret_feature` gives: ``feature_id``, ``active``,
        ``top_activation``, ``mean_activation``, ``density``, ``common_tokens``, ``top_examples``, …; less of dead ones.

    Raises:
        ConfigError: there is no text, no model or no hook point; SAE and model do not fit; there is no such latent;
            contexts are longer than the model reads.
        NotFoundError, FormatError, HubError: as `load_sae`.
        HookError: the model has no such hook point.
        StorageError: the file cannot be written.
    """
    if not isinstance(sae, SAE | str | Path) and not hasattr(sae, "metadata"):
        refuse(sae, "sae", "an SAE", "Give a loaded SAE, a path or a repository of the hub.")
    optional_text(name, "name", "a name for the file")
    optional_text(hook_name, "hook_name", "a hook name")
    folder = take_path(save_dir, "save_dir", "a folder") if save_dir is not None else None
    settings, text = _settings(texts, corpus, config)
    named = isinstance(model, str | Path | LoadedModel) or model is None
    require(
        (name is None or (_PLAIN.fullmatch(name) and not name.startswith(".")), "name",
         f"{name!r} is not a file name.", 'Use one such as "layer_6".'),
        (not named or tokenizer is None, "tokenizer", "A tokenizer goes with a loaded model.",
         "Leave it out: the model has its own."),
    )  # fmt: skip
    held = None if named else take(model, tokenizer)
    path = sae if isinstance(sae, str | Path) else None
    loaded: Any = load_sae(path) if path is not None else sae
    subject = unlisted_subject(loaded)
    hook = hook_name or subject.place('Give it: hook_name="blocks.6.hook_resid_post".')
    indices = range(loaded.d_sae) if features is None else numbers(features, "features")
    for index in () if features is None else indices:
        check_index(index, loaded.d_sae, "features")
    if isinstance(model, LoadedModel):
        lm = model
    elif held is not None:
        lm = load(held)
    else:
        named_model = str(model) if model is not None else settings.model
        wanted = named_model or subject.own_model('Give it: model="gpt2".')
        check_revision(wanted, settings.model_revision)
        device = resolve_device(settings.device)
        lm = load(ModelReference(wanted, settings.model_revision, settings.model_dtype, device))
    found = _interpret(loaded, subject, lm, hook, settings, text, indices)
    if folder is not None:
        layer = layer_of(hook)
        stem = re.sub(r"[^\w.+\-]+", "-", Path(path).stem).strip("-.")[:100] if path is not None else ""
        stem = name or (f"layer_{layer}" if layer is not None else stem or "sae")
        write_interpretations(found.values(), folder / f"{stem}_interpretations.json")
    return found


def _settings(texts: Any, corpus: Any, config: Any) -> tuple[ExtractionConfig, CorpusConfig]:
    settings = checked(config)
    both = "Both texts and a corpus were given."
    require((texts is None or corpus is None, "texts", both, "Give one of them."))
    if texts is not None:
        if isinstance(texts, str) or not isinstance(texts, Iterable):
            refuse(texts, "texts", "a list of strings", "Give [text], or corpus=path.")
        strings = list(texts)
        for number, text in enumerate(strings, 1):
            if not isinstance(text, str):
                raise ConfigError(f"Text {number:,} has type {type(text).__name__}, not str.", where="texts")
        corpus = TextCorpus(strings=tuple(strings)) if any(text.strip() for text in strings) else None
    if corpus is not None:
        settings = settings.replace(corpus=corpus)
    if settings.corpus is None or (texts is not None and corpus is None):
        raise ConfigError("There is no text to read.", where="texts", hint='Give texts=[…] or corpus="demo".')
    return settings, settings.corpus


def _interpret(
    sae: Any, subject: KnownSAE, lm: LoadedModel, hook_name: str, settings: ExtractionConfig, corpus: CorpusConfig,
    wanted: Iterable[int],
) -> dict[int, dict[str, Any]]:
    context_size = settings.context_size or subject.context_size or min(CONTEXT, lm.context or CONTEXT)
    check_context(lm.name, lm.context, context_size)
    with tempfile.TemporaryDirectory(prefix="saewidgets-", ignore_cleanup_errors=True) as folder:
        tokens = Path(folder) / "tokens"
        packed = pack(
            open_corpus(corpus), lm.tokenizer, folder=tokens, validation_share=0.0, wanted=settings.tokens,
            context_size=context_size, packing=subject.packing,
        )  # fmt: skip
        contexts = packed.spread(settings.tokens)
        before = sae.W_enc.device
        try:
            extract(sae.to(lm.device), lm, packed, contexts, hook_name, settings, Path(folder) / "features")
        finally:
            sae.to(before)
        store = FeatureStore(Path(folder) / "features", tokens)
        return {item["feature_id"]: item for item in interpret_features(StoreExamples(store), wanted)}
