"""Metrics of how much an SAE preserves: reconstruction, sparsity, cross-entropy and divergence, each defined once."""

from saewidgets.evaluation.ce import CrossEntropy, ce_loss_score, kl_div_score
from saewidgets.evaluation.evaluate import Baseline, Evaluator, Subject, evaluate
from saewidgets.evaluation.metrics import ReconstructionStats

__all__ = [
    "Baseline", "CrossEntropy", "Evaluator", "ReconstructionStats", "Subject", "ce_loss_score", "evaluate",
    "kl_div_score",
]  # fmt: skip
