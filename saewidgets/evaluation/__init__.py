"""What an SAE preserves: reconstruction, sparsity and cross-entropy, each defined once."""

from saewidgets.evaluation.ce import CrossEntropy, ce_loss_score
from saewidgets.evaluation.evaluate import Baseline, evaluate, measure_baseline
from saewidgets.evaluation.metrics import ReconstructionStats

__all__ = ["Baseline", "CrossEntropy", "ReconstructionStats", "ce_loss_score", "evaluate", "measure_baseline"]
