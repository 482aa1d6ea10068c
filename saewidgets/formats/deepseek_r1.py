"""DeepSeek R1 of qresearch: a ReLU SAE in ``DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt``, known by its name alone: others
call their tensors the same."""

from __future__ import annotations

import re

from saewidgets.formats.linear_pt import LinearFile

FORMAT = LinearFile(
    "deepseek_r1", "DeepSeek R1 (qresearch)", "deepseek-ai",
    re.compile(r"(DeepSeek-[\w.\-]{1,80}?)-SAE-l([0-9]{1,4})\.pth?"), ("encoder", "decoder"), telling=False,
).format()
