"""Modes of torch.compile, by its own names."""

from __future__ import annotations

from typing import Literal

CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
