"""What the tests of exports say about features, and tokens that are meant to break something."""

from __future__ import annotations

from saewidgets.features.store.query import Noted

D = 40
EVIL = '</script></style><img src=x onerror="alert(1)">'
NOTES = {3: Noted("kings & queens", 0.86, True), 5: Noted(EVIL), 6: Noted("=HYPERLINK(1)"), 99: Noted("not here")}

HOSTILE = (EVIL.encode(), "\u202egnal\u2066".encode(), b"\0\x1b[2J", b"x" * 10_000, b"\xff\xfe", b"=1+1")
