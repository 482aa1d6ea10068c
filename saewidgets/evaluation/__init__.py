"""What an SAE preserves: reconstruction, sparsity, cross-entropy and divergence, each defined once."""

from saewidgets.evaluation.ce import CrossEntropy, ce_loss_score, kl_div_score
from saewidgets.evaluation.evaluate import Baseline, Evaluator, Subject, evaluate, evaluate_latents
from saewidgets.evaluation.metrics import ReconstructionStats

__all__ = [
    "Baseline", "CrossEntropy", "Evaluator", "ReconstructionStats", "Subject", "ce_loss_score", "evaluate",
    "evaluate_latents", "kl_div_score",
]  # fmt: skip
