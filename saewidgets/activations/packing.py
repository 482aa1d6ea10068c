"""Packing: documents → contexts of equal length in a memory-mapped file.

Documents are tokenised one after another and joined with a separator (the end-of-sequence token); the stream is cut
into contexts. Or each gives one context alone; see `Packing`. With `prepend_bos` every context starts with the
beginning-of-sequence token, so that the position whose activation is an outlier holds the same special token
everywhere and can be left out. Nothing is padded: what does not fill the last context is dropped.

The file is shared: the same text, tokenizer and settings are packed once. Text of a usual size is packed whole, and
its folder appears whole or not at all. Long text (datasets of the hub, files of some megabytes, the demo's) is
packed as far as a run needs it; see `growing`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from saewidgets.activations.documents import Corpus, LongCorpus, Split, is_long
from saewidgets.activations.growing import enough, grow, new_growth
from saewidgets.activations.packed import EVERY_TOKEN, PackedTokens, PackFacts
from saewidgets.activations.tokenising import (
    Contexts,
    Tokens,
    batched,
    check_tokenizer,
    text_encoder,
    tokenizer_fingerprint,
)
from saewidgets.config.packing import Packing
from saewidgets.errors import ConfigError, StorageError
from saewidgets.lm import SpecialTokens, separator_id, special_tokens
from saewidgets.lm.token_mask import Kept

__all__ = ["PackFacts", "PackedTokens", "Tokens", "pack", "text_encoder", "tokenizer_fingerprint"]

AS_USUAL = Packing()
FORMAT = 2  # 1: special tokens spelled out in a text were taken for real ones
_STALE_SECONDS = 24 * 3600


def pack(
    corpus: Corpus,
    tokenizer: Any,
    *,
    folder: Path | str,
    context_size: int,
    packing: Packing = AS_USUAL,
    validation_share: float = 0.02,
    wanted: int | None = None,
    rule: Kept = EVERY_TOKEN,
    check: Callable[[], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> PackedTokens:
    """Tokenise `corpus` into contexts, or open them where that was done before.

    Args:
        corpus: from `open_corpus`.
        tokenizer: a transformers tokenizer.
        folder: holds one subfolder per packing; may be shared by many runs and processes.
        context_size: tokens per context, the BOS included.
        packing: how documents fill the contexts.
        validation_share: see `PackedTokens`.
        wanted: of long text: positions for training that are needed; no more is read than holds them. None: all of it.
            Text that is packed whole is not affected.
        rule: which positions count as wanted.
        check: called between batches of documents; what it raises ends the packing. Text that is packed whole leaves
            nothing behind then; of long text what was packed stays, and the next call goes on from there.
        on_progress: called with the number of tokens so far.

    Raises:
        ConfigError: the corpus is empty, or too small for one context; the tokenizer has no such separator.
        StorageError: the folder cannot be written.
        FormatError, NotFoundError: from reading the corpus.
    """
    folder = Path(folder)
    special = special_tokens(tokenizer)
    if packing.separator != "eos":
        special = replace(special, separator=separator_id(tokenizer, packing.separator))
    settings = {
        "format": FORMAT, "context_size": context_size, "prepend_bos": packing.prepend_bos,
        "corpus": corpus.fingerprint(),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        # Only encoders have a closing token: what was packed for others before there was one stays good.
        "special": {key: value for key, value in asdict(special).items() if (key, value) != ("closing", None)},
    }
    if not packing.join:
        settings["joined"] = False
    if getattr(corpus, "chat", False):
        settings["chat_template"] = tokenizer.chat_template
    fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]
    target = folder / fingerprint
    if (target / "pack.json").is_file() and not is_long(corpus):
        return PackedTokens(target, validation_share)
    tokenizer = copy.deepcopy(tokenizer)  # a fast tokenizer refuses to be used by two threads with different settings
    check = check or (lambda: None)
    partial = folder / f".partial-{fingerprint}-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if is_long(corpus):
            _grow(
                target, cast(LongCorpus, corpus), tokenizer, special, context_size, packing, wanted, rule,
                validation_share, check, on_progress,
            )
            return PackedTokens(target, validation_share, wanted=wanted, rule=rule)
        _remove_stale(folder)
        partial.mkdir()
        facts = _write(
            partial, corpus, tokenizer, special, fingerprint, context_size, packing, check, on_progress
        )
        _publish(partial, target, facts)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"The tokens cannot be written: {error.strerror or error}.", where=str(folder),
            hint="Free some disk space, or choose another workspace folder.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # already renamed when all went well
    return PackedTokens(target, validation_share)


def _grow(
    target: Path, corpus: LongCorpus, tokenizer: Any, special: SpecialTokens, context_size: int, packing: Packing,
    wanted: int | None, rule: Kept, validation_share: float, check: Callable[[], None],
    on_progress: Callable[[int], None] | None,
) -> None:
    check_tokenizer({"tokenizer": getattr(corpus, "tokenizer_said", None)}, tokenizer)
    if (target / "pack.json").is_file() and enough(target, wanted, validation_share, rule):
        return  # not even the hub has to be asked
    check_tokenizer(corpus.facts, tokenizer)
    contexts = Contexts(
        tokenizer, special, context_size, prepend_bos=packing.prepend_bos, join=packing.join,
        whole_rows=corpus.whole_rows,
    )
    new = _facts(
        corpus, tokenizer, special, contexts, target.name, context_size, n_contexts=0, n_held_out=0, dropped=0
    )
    grow(
        target, corpus, tokenizer, new, wanted=wanted, validation_share=validation_share,
        check=check, on_progress=on_progress, rule=rule,
    )


def _write(
    partial: Path,
    corpus: Corpus,
    tokenizer: Any,
    special: SpecialTokens,
    fingerprint: str,
    context_size: int,
    packing: Packing,
    check: Callable[[], None],
    on_progress: Callable[[int], None] | None,
) -> PackFacts:
    contexts = Contexts(tokenizer, special, context_size, prepend_bos=packing.prepend_bos, join=packing.join)
    counts = {"train": 0, "validation": 0}
    dropped = 0
    splits: tuple[Split, ...] = ("train", "validation") if corpus.held_out else ("train",)
    with (partial / "tokens.bin").open("wb") as stream:
        for split in splits:
            for batch in batched(corpus.documents(split)):
                check()
                rows = contexts.add(batch)
                stream.write(rows.tobytes())
                counts[split] += len(rows)
                if on_progress is not None:
                    on_progress(sum(counts.values()) * context_size)
            dropped += contexts.end()
        stream.flush()
        os.fsync(stream.fileno())
    if contexts.documents == 0:
        raise ConfigError(
            "The corpus holds no text.", where="corpus", hint="Choose a file or folder with some text in it."
        )
    if counts["train"] == 0:
        raise ConfigError(
            f"The corpus has {dropped:,} tokens, less than one context of {context_size:,}." if packing.join
            else f"No document of the corpus has the {context_size:,} tokens of a context.", where="corpus",
            hint=f"Give {'more text' if packing.join else 'longer documents'}, or lower Context length.",
        )
    return _facts(
        corpus, tokenizer, special, contexts, fingerprint, context_size, n_contexts=sum(counts.values()),
        n_held_out=counts["validation"], dropped=dropped,
    )


def _facts(
    corpus: Corpus, tokenizer: Any, special: SpecialTokens, contexts: Contexts, fingerprint: str, context_size: int, *,
    n_contexts: int, n_held_out: int, dropped: int,
) -> PackFacts:
    return PackFacts(
        format=FORMAT, fingerprint=fingerprint, context_size=context_size, prepend_bos=contexts.bos is not None,
        dtype=contexts.dtype.str, n_contexts=n_contexts, n_held_out=n_held_out, n_documents=contexts.documents,
        n_dropped_tokens=dropped, largest_id=contexts.largest, special_ids=special.all, bos=special.bos,
        separator=special.separator, joined=contexts.join, corpus=corpus.label,
        tokenizer=str(getattr(tokenizer, "name_or_path", "")).replace("\\", "/").rstrip("/").split("/")[-1],
        growth=new_growth(cast(LongCorpus, corpus)) if is_long(corpus) else None,
    )


def _publish(partial: Path, target: Path, facts: PackFacts) -> None:
    """Make the finished folder appear under its name. Where another process did so meanwhile, its copy stays."""
    with (partial / "pack.json").open("w", encoding="utf-8") as stream:
        json.dump(facts.to_data(), stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    try:
        partial.rename(target)
    except OSError:
        if not (target / "pack.json").is_file():
            raise


def _remove_stale(folder: Path) -> None:
    """Remove what a killed process left a day or more ago."""
    for leftover in folder.glob(".partial-*"):
        try:
            old = time.time() - leftover.stat().st_mtime > _STALE_SECONDS
        except FileNotFoundError:  # its owner just finished
            continue
        if old:
            shutil.rmtree(leftover, ignore_errors=True)
