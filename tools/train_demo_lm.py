"""Train the demo language model on the shipped corpus.

    python tools/train_demo_lm.py --work build/demo_lm --steps 10000 --device cuda   # minutes
    python tools/train_demo_lm.py --work build/demo_lm --minutes 100                 # on two CPU cores

A Llama-type decoder (RoPE, RMSNorm, SwiGLU, tied embeddings, no biases) of 4 layers and width 256. Muon trains the
hidden matrices, AdamW the embedding and the norms; the rate rises linearly, then falls linearly to zero over the
budget, which is `--steps`, or wall-clock `--minutes` where other work shares the machine. The run writes `log.jsonl`
and `state.pt` into the work folder, resumes from there when started again, and exports into saewidgets/demo/data/model.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from build_corpus import BOS, DATA
from demo_rows import load_rows
from muon import Muon
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

CONTEXT = 256
# Settings of every transformers config that say nothing about this model.
_NOT_OF_THE_MODEL = (
    "transformers_version _name_or_path chunk_size_feed_forward id2label label2id is_encoder_decoder "
    "output_attentions output_hidden_states problem_type return_dict"
).split()


def model_config(tokenizer: Tokenizer) -> LlamaConfig:
    """Shape of the model: 3.67 million parameters."""
    bos = tokenizer.token_to_id(BOS)
    return LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=bos,
        eos_token_id=bos,
        pad_token_id=bos,
    )


def token_stream(tokenizer: Tokenizer, texts: list[str]) -> list[Tensor]:
    """One int64 tensor per document; the tokenizer puts BOS in front."""
    return [torch.tensor(e.ids) for e in tokenizer.encode_batch(texts)]


def contexts(documents: list[Tensor]) -> Tensor:
    """Pack documents end to end and cut `[n, CONTEXT + 1]` windows that overlap by the one token they predict."""
    flat = torch.cat(documents)
    return flat.unfold(0, CONTEXT + 1, CONTEXT)


def batches(documents: list[Tensor], size: int, seed: int, skip: int) -> Iterator[tuple[int, Tensor]]:
    """Endless `(epoch, [size, CONTEXT + 1])`: each epoch packs the documents in a new order; `skip` resumes."""
    epoch = 0
    while True:
        order = torch.Generator().manual_seed(seed + epoch)
        packed = contexts([documents[i] for i in torch.randperm(len(documents), generator=order)])
        picks = torch.randperm(len(packed), generator=order).split(size)
        for pick in picks[:-1]:
            if skip > 0:
                skip -= 1
                continue
            yield epoch, packed[pick]
        epoch += 1


def loss_of(model: nn.Module, batch: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy in nats of every next token."""
    logits = model(input_ids=batch[:, :-1]).logits.float()
    return nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction=reduction)


@torch.no_grad()
def evaluate(model: nn.Module, packed: Tensor) -> float:
    """Mean cross-entropy over packed held-out contexts."""
    model.eval()
    total = sum(loss_of(model, chunk, "sum").item() for chunk in packed.split(16))
    model.train()
    return total / (len(packed) * CONTEXT)


def export(model: LlamaForCausalLM, folder: Path) -> None:
    """Weights as float16, the config says float32: transformers then loads and computes in float32 on its own."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {n: p.detach().to(torch.float16).contiguous() for n, p in model.named_parameters()}
    save_file(weights, folder / "model.safetensors.tmp", metadata={"format": "pt"})
    (folder / "model.safetensors.tmp").chmod(0o644)  # safetensors writes files that only their owner can read
    os.replace(folder / "model.safetensors.tmp", folder / "model.safetensors")
    config = model.config.to_dict()
    for key in _NOT_OF_THE_MODEL:
        config.pop(key, None)
    config |= {"architectures": ["LlamaForCausalLM"], "dtype": "float32", "torch_dtype": "float32", "use_cache": True}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    ids = {k: config[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    generation = GenerationConfig(**ids).to_dict()
    (folder / "generation_config.json").write_text(
        json.dumps({k: generation[k] for k in ids}, indent=2, sort_keys=True) + "\n"
    )


def rate(progress: float, warmup: float) -> float:
    """Linear warm-up, then linear decay to zero at progress 1."""
    return min(progress / warmup, (1 - progress) / (1 - warmup)) if progress < 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/demo_lm"))
    parser.add_argument("--out", type=Path, default=DATA / "model")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--steps", type=int)
    budget.add_argument("--minutes", type=float)
    parser.add_argument("--batch", type=int, default=16, help="contexts per step")
    parser.add_argument("--lr", type=float, default=1e-2, help="peak rate of Muon")
    parser.add_argument("--lr-embed", type=float, default=5e-3, help="peak rate of AdamW")
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--weight-decay-embed", type=float, default=0.02, help="of the embedding and the norms")
    parser.add_argument("--warmup", type=float, default=0.03)
    parser.add_argument("--eval-every", type=int, default=150)
    parser.add_argument("--workers", type=int, default=2, help="processes that share each batch, one thread each")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (one worker, matrix products in bfloat16)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="torch.compile: faster, needs a C++ compiler")
    parser.add_argument("--no-export", action="store_true")
    args = parser.parse_args()
    if args.device != "cpu":
        args.workers = 1
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / "rendezvous").unlink(missing_ok=True)
    if not (args.work / "validation.pt").exists():
        tokenizer = Tokenizer.from_file(str(DATA / "model" / "tokenizer.json"))
        rows = load_rows(DATA / "corpus.jsonl.xz")
        for split in ("train", "validation"):
            texts = [row["text"] for row in rows if row["split"] == split]
            torch.save(token_stream(tokenizer, texts), args.work / f"{split}.pt")
    # Processes meet once a step, threads at every operation: on a machine with other work that is much faster.
    mp.spawn(train, (args,), nprocs=args.workers)


def train(rank: int, args: argparse.Namespace) -> None:
    """One worker: its share of every batch; worker 0 also measures, logs, saves and exports."""
    # Linux shares a CPU between sessions before it shares it between processes: each worker gets its own share.
    os.setsid()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{(args.work / 'rendezvous').resolve()}",
        rank=rank,
        world_size=args.workers,
        timeout=timedelta(minutes=30),
    )

    tokenizer = Tokenizer.from_file(str(DATA / "model" / "tokenizer.json"))
    documents = {split: torch.load(args.work / f"{split}.pt") for split in ("train", "validation")}
    held_out = contexts(documents["validation"])
    # Documents come shuffled across sources, so evenly spaced contexts are a fair sample of all of them.
    sample = held_out[:: max(1, len(held_out) // 96)][:96].to(args.device)

    model = LlamaForCausalLM(model_config(tokenizer)).to(args.device)
    model.train()
    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers = [
        Muon(hidden, lr=args.lr, weight_decay=args.weight_decay),
        torch.optim.AdamW(rest, lr=args.lr_embed, betas=(0.9, 0.95), weight_decay=args.weight_decay_embed),
    ]
    peaks = [args.lr, args.lr_embed]
    step, elapsed = 0, 0.0
    state_file = args.work / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step, elapsed = state["step"], state["elapsed"]

    forward = torch.compile(loss_of) if args.compile else loss_of
    log = (args.work / "log.jsonl").open("a", buffering=1)
    stream = batches(documents["train"], args.batch, args.seed, skip=step)
    began = time.monotonic() - elapsed
    recent: list[float] = []

    def report(epoch: int) -> None:
        row = {
            "step": step,
            "tokens": step * args.batch * CONTEXT,
            "epoch": epoch,
            "minutes": round((time.monotonic() - began) / 60, 2),
            "train_loss": round(sum(recent) / max(1, len(recent)), 4),
            "validation_loss": round(evaluate(model, sample), 4),
        }
        log.write(json.dumps(row) + "\n")
        print(row, flush=True)
        recent.clear()
        state = {
            "model": model.state_dict(),
            "optimizers": [o.state_dict() for o in optimizers],
            "step": step,
            "elapsed": time.monotonic() - began,
        }
        torch.save(state, state_file.with_suffix(".tmp"))
        os.replace(state_file.with_suffix(".tmp"), state_file)
        if not args.no_export:
            export(model, args.out)

    everything = [*hidden, *rest]
    epoch = 0
    for epoch, batch in stream:
        progress = step / args.steps if args.steps else (time.monotonic() - began) / 60 / args.minutes
        clock = torch.tensor([progress])
        dist.broadcast(clock, 0)
        progress = clock.item()
        if progress >= 1:
            break
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate(max(progress, 1e-4), args.warmup)
        with torch.autocast("cuda", torch.bfloat16, enabled=args.device != "cpu"):
            loss = forward(model, batch.chunk(args.workers)[rank].to(args.device))
        loss.backward()
        mean_loss = loss.detach()
        if args.workers > 1:  # one message a step: all gradients and, last, the loss
            flat = torch.cat([*(p.grad.flatten() for p in everything if p.grad is not None), loss.detach().view(1)])
            dist.all_reduce(flat)
            flat /= args.workers
            for p, mean in zip(everything, flat[:-1].split([p.numel() for p in everything]), strict=True):
                p.grad = mean.view_as(p)
            mean_loss = flat[-1]
        nn.utils.clip_grad_norm_(rest, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        recent.append(mean_loss.item())
        if not math.isfinite(recent[-1]):
            raise SystemExit(f"loss became {recent[-1]} at step {step}")
        step += 1
        if step % args.eval_every == 0 and rank == 0:
            report(epoch)
    if rank == 0:
        report(epoch)
        final = evaluate(model, held_out.to(args.device))
        print(f"final validation loss over {held_out[:, 1:].numel():,} tokens: {final:.4f} nats/token")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
