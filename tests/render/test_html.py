"""Escaping happens in one place and nothing gets around it."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from saewidgets.render.html import Html, escape, html_document, join, tag


class Reader(HTMLParser):
    """Collects tags, attributes and text as a browser would see them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.text = ""

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes.update(attributes)

    def handle_data(self, data: str) -> None:
        self.text += data


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@given(TEXT, TEXT)
def test_any_text_comes_back_as_text(content: str, attribute: str) -> None:
    reader = Reader()
    reader.feed(tag("p", content, title=attribute))
    reader.close()
    assert reader.tags == ["p"]
    assert reader.text == content
    assert reader.attributes == {"title": attribute}


def test_markup_is_kept_once_built() -> None:
    inner = tag("b", "<i>")
    assert inner == "<b>&lt;i&gt;</b>"
    assert tag("p", inner, " & ") == "<p><b>&lt;i&gt;</b> &amp; </p>"
    assert escape(inner) is inner
    assert join([inner, "<"], ", ") == "<b>&lt;i&gt;</b>, &lt;"


def test_attribute_names_and_missing_attributes() -> None:
    assert tag("a", class_="x", aria_label='"y"', title=None) == '<a class="x" aria-label="&quot;y&quot;"></a>'


def test_control_characters_become_visible() -> None:
    assert escape("a\x00b\x1b[0m") == "a\ufffdb\ufffd[0m"
    assert escape("gpt2\u202e\u2066\u061c\u200f") == "gpt2" + 4 * "\ufffd"


def test_a_document_is_complete_and_forbids_scripts() -> None:
    document = html_document("<t>", Html("<p>x</p>"))
    assert document.startswith("<!doctype html>")
    assert "<title>&lt;t&gt;</title>" in document
    assert "default-src 'none'" in document
