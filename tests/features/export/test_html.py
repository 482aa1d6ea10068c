import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saewidgets.errors import ConfigError, StorageError
from saewidgets.features.export import EffectsOf, export_html
from saewidgets.features.store.feature_data import feature_data
from saewidgets.features.store.read import FeatureStore
from tests.conftest import TINY_TEXT
from tests.features.export.examples import EVIL, NOTES
from tests.features.store.made import make_store, packed_text


class Page(HTMLParser):
    """Tags with their attributes, and the text of every section by its id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {}
        self.list = ""
        self.raw = {"script": "", "style": ""}
        self._open: list[str] = []
        self._section = ""
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "input"):
            self._open.append(tag)
        if tag == "section":
            self._section = str(dict(attrs)["id"])
            self.sections[self._section] = ""

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}>"
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in self.raw:
            self.raw[self._open[-1]] += data
        elif self._section:
            self.sections[self._section] += data
        elif "ol" in self._open:
            self.list += data

    def names(self) -> set[str]:
        return {name for name, _ in self.tags}


def test_a_page_shows_the_data_of_the_extraction(store: FeatureStore, logits: EffectsOf, tmp_path: Path) -> None:
    chosen = [7, 3, 0, 1]
    path = export_html(store, chosen, NOTES, tmp_path / "page.html", logits)
    page = Page(path)
    assert list(page.sections) == ["f7", "f3", "f0", "f1"]  # in the order that was asked for
    data = feature_data(store, 3)
    text = page.sections["f3"]
    assert f"{data.fired:,}Firings" in text
    assert "kings & queens" in text
    assert "Score 0.86" in text
    assert "★ Feature 3" in text
    assert "+2.00" in text
    assert "-1.50" in text
    assert "Top activations" in text
    assert "Interval" in text
    for example in data.top:
        assert "".join(example.pieces[example.peak - 2 : example.peak + 3]).replace("\n", "↵") in text
    assert "did not fire on this text" in page.sections["f0"]
    assert "Raises" in page.sections["f0"]  # the direction is there all the same
    assert "kings & queens" in page.list
    assert "tiny <b>SAE</b>" in path.read_text("utf-8").split("</title>")[0].replace("&lt;", "<").replace("&gt;", ">")


def test_nothing_is_loaded_and_only_its_own_script_may_run(store: FeatureStore, tmp_path: Path) -> None:
    page = Page(export_html(store, range(40), NOTES, tmp_path / "page.html"))
    assert not page.names() & {"img", "link", "iframe", "object", "embed", "base", "form", "audio", "video", "source"}
    for name, attributes in page.tags:
        assert not {key for key in attributes if key.startswith("on")} | ({"src", "style", "srcset"} & set(attributes))
        if "href" in attributes:
            assert re.fullmatch(r"#f\d+", str(attributes["href"])), name
    policy = next(str(a["content"]) for n, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name, text in page.raw.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
        assert "http" not in text
        assert "</" not in text


def test_hostile_tokens_and_labels_are_text(hostile: FeatureStore, logits: EffectsOf, tmp_path: Path) -> None:
    path = export_html(hostile, range(40), NOTES, tmp_path / "page.html", logits)
    text = path.read_text("utf-8")
    page = Page(path)  # every tag that is opened is closed
    assert [name for name, _ in page.tags].count("script") == 1
    assert "img" not in page.names()
    assert EVIL in page.sections["f5"]
    assert "[U+202E]" in text
    assert "[U+0000]" in text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\0\x1b]", text)
    assert "x" * 100 not in text
    assert len(text) < 40 * 26_000


def test_a_page_stays_below_25_kb_per_feature_even_if_dense(tmp_path: Path, tokenizer: Any) -> None:
    packed = packed_text(tokenizer, tmp_path / "tokens", TINY_TEXT, context_size=64)
    rng = np.random.default_rng(0)
    n = packed.n_contexts * 64
    latents = rng.gamma(2.0, 2.0, (n, 20)).astype(np.float32)  # every latent on every token
    make_store(tmp_path / "ext", packed, tokenizer, latents, k=20, m=5)
    store = FeatureStore(tmp_path / "ext", tmp_path / "tokens")
    path = export_html(store, range(20), None, tmp_path / "page.html")
    assert path.stat().st_size < 20 * 25_000
    rows = re.findall('<div class="row">', path.read_text("utf-8"))
    assert len(rows) >= 20 * 10


def test_a_page_that_breaks_off_leaves_the_one_before(store: FeatureStore, tmp_path: Path) -> None:
    path = export_html(store, [1], None, tmp_path / "page.html")
    before = path.read_text("utf-8")

    def broken(index: int) -> None:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        export_html(store, [1, 2], None, path, broken)
    assert path.read_text("utf-8") == before
    with pytest.raises(StorageError):
        export_html(store, [1], None, path / "page.html")


def test_what_cannot_be_exported(store: FeatureStore, tmp_path: Path) -> None:
    wrong = (([], "No feature"), ([40], "feature 40"), ([-1], "feature -1"), ([1, 1, 77], "77"), ([1.5], "numbers"))
    for indices, said in wrong:
        with pytest.raises(ConfigError, match=said):
            export_html(store, indices, None, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
