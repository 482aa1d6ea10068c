"""Goodfire: ReLU SAEs of Llama in ``Llama-3.3-70B-Instruct-SAE-l50.pt`` and ``Llama-3.1-8B-Instruct-SAE-l19.pth``."""

from __future__ import annotations

import re

from saewidgets.formats.linear_pt import LinearFile

FORMAT = LinearFile(
    "goodfire", "Goodfire", "meta-llama", re.compile(r"(Llama-[\w.\-]{1,80}?)-SAE-l([0-9]{1,4})\.pth?"),
    ("encoder_linear", "decoder_linear"), telling=True,
).format()
