"""Train the demo SAE, read its features, label them, and pack all of it into the package.

    python tools/make_demo_sae.py --work build/demo_sae

Writes saewidgets/demo/data/sae/: ``demo-sae.zip``, and ``demo-sae.json``, which says what is in it. A trained SAE that
lies in `--work` from an earlier call is used again. See docs/demo-model.md.

    python tools/make_demo_sae.py --rescore

makes only the scores of the labels again, from the SAE and the extraction that are in the package; whatever else is in
its files stays as it is, byte for byte.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demo_sae_files import write_archive
from demo_sae_scores import score_again, scored
from safetensors.torch import load_file, save_file

from saewidgets.activations import PackedTokens, open_corpus, pack
from saewidgets.activations.packed import PackFacts
from saewidgets.config import ExtractionConfig, TrainingConfig
from saewidgets.config.corpus import DemoCorpus
from saewidgets.demo import model_path
from saewidgets.evaluation import evaluate
from saewidgets.events import Progress
from saewidgets.features.extraction import extract
from saewidgets.features.extraction.encoding import TOKEN_SAMPLE
from saewidgets.features.extraction.ops import LARGEST, hash_of, joint_hash
from saewidgets.features.labels import Label, label_features, offline
from saewidgets.features.store.layout import LOGIT_ARRAYS, LOGITS, MANIFEST, Manifest
from saewidgets.features.store.query import DENSE
from saewidgets.features.store.read import FeatureStore
from saewidgets.formats import load_sae, save_sae
from saewidgets.lm import LoadedModel, load_model
from saewidgets.lm.unembedding import unembedding
from saewidgets.sae import SAE
from saewidgets.training import run_training
from saewidgets.workspace.features import to_record
from saewidgets.workspace.reading.store_examples import StoreExamples
from saewidgets.workspace.trainings import demo_config

NAME = "demo-blocks-0"
STORED = torch.bfloat16  # of the weights; they are computed with in float32, as `cfg.json` says
EVALUATED = 65_536  # held-out tokens
CONTEXTS = 1_000  # read, of 256 tokens
SAMPLED = 150_000  # (token, latent) pairs of the co-activation sample that are kept
FIGURES = ("fvu", "l0", "ce_loss_score", "ce_loss_clean", "ce_loss_sae", "dead", "n_tokens")


def training(arguments: argparse.Namespace) -> TrainingConfig:
    """As `saewidgets demo`, with fewer latents, of which fewer are active."""
    changes = {
        "name": NAME, "hook_name": f"blocks.{arguments.layer}.hook_resid_post", "sae.d_sae": arguments.d_sae,
        "sae.k": arguments.k, "tokens": arguments.tokens, "seed": 0, "device": "cpu",
        "dead_window_tokens": 250_000,  # so that the auxiliary loss wakes them within a run this short
    }
    return demo_config().replace(**changes)


def trained(config: TrainingConfig, work: Path) -> SAE:
    """The SAE of this configuration, trained in `work` or there already."""
    folder = work / "training"
    if not (folder / "sae" / "cfg.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        run_training(config, folder, emit=tell, tokens_folder=work / "packed")
    return load_sae(folder / "sae")


def save_rounded(sae: SAE, folder: Path) -> SAE:
    """Write `sae` in SAELens' format with weights of half the size; returns what is read from there."""
    shutil.rmtree(folder, ignore_errors=True)
    save_sae(sae, folder)
    weights = folder / "sae_weights.safetensors"
    save_file({name: tensor.to(STORED) for name, tensor in load_file(weights).items()}, weights)
    return load_sae(folder)


def excerpts(packed: PackedTokens, count: int, tokens: Path) -> PackedTokens:
    """`count` contexts from all over the corpus, packed by themselves.

    Each begins with the token that separates documents, so that each is a document of its own there.
    """
    numbers = np.arange(count, dtype=np.int64) * packed.n_contexts // count
    ids = packed.contexts(numbers)
    if packed.facts.bos != packed.facts.separator or not (ids[:, 0] == packed.facts.separator).all():
        raise SystemExit("The contexts of this model do not begin with the separator.")
    return pack_contexts(ids.astype(packed.facts.dtype), packed.facts, tokens)


def pack_contexts(ids: np.ndarray, facts: PackFacts, tokens: Path) -> PackedTokens:
    """Packed tokens that are exactly these contexts."""
    from demo_sae_files import digest

    about = replace(
        facts, prepend_bos=False, n_contexts=len(ids), n_held_out=0, n_dropped_tokens=0, largest_id=int(ids.max()),
        n_documents=int((ids == facts.separator).sum()), corpus="demo", fingerprint="",
    )
    about = replace(about, fingerprint=digest(ids.tobytes(), json.dumps(asdict(about), sort_keys=True).encode())[:24])
    folder = tokens / about.fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokens.bin").write_bytes(ids.tobytes())
    (folder / "pack.json").write_text(json.dumps(asdict(about), indent=1), encoding="utf-8")
    return PackedTokens(folder, 0.0)


def labelled(store: FeatureStore) -> list[Label]:
    """Every latent that can be named by matching words."""
    return label_features(np.flatnonzero(store.fired).tolist(), offline(), StoreExamples(store)).labels


def thin_sample(folder: Path, most: int) -> None:
    """Keep fewer tokens of the co-activation sample, by the rule by which the extraction thins it."""
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    positions, offsets, latents = (
        np.load(folder / f"sample_{name}.npy") for name in ("positions", "offsets", "latents")
    )
    numbers = torch.from_numpy(positions.astype(np.int64))
    hashes = joint_hash(hash_of(numbers, manifest["settings"]["seed"], TOKEN_SAMPLE), torch.zeros_like(numbers))
    counts, rate = np.diff(offsets), manifest["coactivation_rate"]
    while True:
        stays = (hashes <= int(LARGEST * rate)).numpy() if rate < 1 else np.ones(len(positions), dtype=bool)
        if counts[stays].sum() <= most:
            break
        rate /= 2
    np.save(folder / "sample_positions.npy", positions[stays])
    np.save(folder / "sample_offsets.npy", np.concatenate([[0], np.cumsum(counts[stays])]).astype(offsets.dtype))
    np.save(folder / "sample_latents.npy", latents[np.repeat(stays, counts)])
    manifest["coactivation_rate"] = rate
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def write_logits(sae: SAE, lm: LoadedModel, folder: Path, n: int = 10) -> None:
    """The strongest logit effects of all latents, in three digits."""
    effects = unembedding(lm.model).effects(sae.W_dec.detach().float())
    target = folder / LOGITS
    target.mkdir(exist_ok=True)
    for side, sign in (("top", 1), ("bottom", -1)):
        found = (sign * effects).topk(n)
        values = (sign * found.values).half().float()
        for name, array in ((f"{side}_tokens", found.indices), (f"{side}_logits", values)):
            np.save(target / f"{name}.npy", array.numpy().astype(LOGIT_ARRAYS[name].dtype))


def tell(event: Any) -> None:
    """Progress, now and then."""
    if isinstance(event, Progress) and event.total:
        print(f"\r{event.phase or 'training'} {event.done / event.total:.0%}   ", end="", flush=True)


def measure(sae: SAE, lm: LoadedModel, packed: PackedTokens, hook_name: str) -> dict[str, float]:
    """The figures of the page, on held-out text."""
    found = evaluate(sae, lm, torch.from_numpy(packed.evaluation_contexts(EVALUATED)), hook_name)
    return {name: round(float(found[name]), 5) for name in FIGURES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/demo_sae"))
    parser.add_argument("--layer", type=int, default=0)
    parser.add_argument("--d-sae", type=int, default=2560)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--per-interval", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "saewidgets/demo/data/sae")
    parser.add_argument("--rescore", action="store_true", help="make the labels' scores again, and nothing else")
    parser.add_argument("--relabel", action="store_true", help="make the labels and their scores again, nothing else")
    arguments = parser.parse_args()
    if arguments.rescore or arguments.relabel:
        with tempfile.TemporaryDirectory() as folder:
            store, labels, size = score_again(arguments.out, Path(folder), labelled if arguments.relabel else None)
            print(f"{report(store, labels)}\n{size:,} bytes in {arguments.out}")
        return
    work = arguments.work.absolute()
    config = training(arguments)
    lm = load_model(str(model_path()), name="demo")
    whole = trained(config, work)
    packed = pack(open_corpus(DemoCorpus()), lm.tokenizer, folder=work / "packed", context_size=config.context_size)
    before = measure(whole, lm, packed, config.hook_name)
    sae = save_rounded(whole, work / "sae")
    after = measure(sae, lm, packed, config.hook_name)
    print("\nbefore rounding", before, "\nafter          ", after)

    shutil.rmtree(work / "tokens", ignore_errors=True)
    text = excerpts(packed, CONTEXTS, work / "tokens")
    extraction = ExtractionConfig(
        corpus=DemoCorpus(), tokens=text.n_contexts * text.context_size, context_size=text.context_size, model="demo",
        examples=arguments.examples, per_interval=arguments.per_interval, device="cpu",
    )
    folder = work / "extraction"
    shutil.rmtree(folder, ignore_errors=True)
    extract(
        sae, lm, text, np.arange(text.n_contexts), config.hook_name, extraction, folder, emit=tell,
        facts={"name": NAME, "source": "local"},
    )
    print()
    store = FeatureStore(folder, work / "tokens")
    labels = labelled(store)
    seconds = store.manifest.facts["seconds"]
    write_logits(sae, lm, folder)
    thin_sample(folder, SAMPLED)
    store = FeatureStore(folder, work / "tokens")
    labels = scored(store, labels)  # by what is kept, so that scoring again finds the same
    print(report(store, labels))

    seen = int((store.fired > 0).sum())
    about = {
        "name": NAME, "model": "demo", "hook_name": config.hook_name, "layer": arguments.layer,
        "architecture": sae.cfg.architecture, "d_in": sae.d_in, "d_sae": sae.d_sae, "dtype": "float32",
        "tokens": text.fingerprint, "training": config.to_data(), "figures": after,
        "extraction": {
            "config": extraction.to_data(), "n_tokens": store.manifest.n_tokens, "seen": seen,
            "dead": store.d_sae - seen, "dense": int((store.density > DENSE).sum()), "seconds": seconds,
        },
    }
    parts = {"sae": work / "sae", "extraction": folder, "tokens": text.folder}
    rows = [asdict(to_record(label)) for label in labels]
    size = write_archive(arguments.out, about, parts, rows)
    print(f"{size:,} bytes in {arguments.out}")


def report(store: FeatureStore, labels: list[Label]) -> str:
    """What the page says of the features."""
    return "\n".join(_report(store, labels))


def _report(store: FeatureStore, labels: list[Label]) -> Iterable[str] | Iterator[str]:
    m: Manifest = store.manifest
    alive = int((store.fired > 0).sum())
    plain = [label for label in labels if not label.description.startswith("The tokens on which")]
    scores: dict[str, list[float]] = {"detection": [], "fuzzing": []}
    for score in (score for label in labels for score in label.scores if score.value is not None):
        scores[score.scorer].append(score.value)
    yield f"{m.n_tokens:,} tokens of {m.n_documents:,} documents, {alive:,} of {store.d_sae:,} latents fired"
    yield f"{(store.density > DENSE).sum():,} dense, co-activation rate {m.coactivation_rate:g}"
    yield f"{len(labels):,} labels, {len(plain):,} of one thing"
    for scorer, values in scores.items():
        quartiles = ", ".join(f"{q:.2f}" for q in np.quantile(values, (0.25, 0.5, 0.75)))
        yield f"{scorer}: {len(values):,} labels, quartiles {quartiles}"
    best = sorted(labels, key=lambda label: -(label.score.value or 0) if label.score else 0)
    for label in best[:: max(1, len(best) // 24)]:
        yield f"  {label.index:5} {label.text:40} {label.score}, fires on {store.density[label.index]:.2%}"


if __name__ == "__main__":
    main()
