"""Clean English prose: one spelling of quotes, dashes and blanks; paragraphs instead of hard-wrapped lines."""

import html
import re
import unicodedata
from html.parser import HTMLParser

_SPELLING = str.maketrans(
    {
        "‘": "'", "’": "'", "‚": "'", "‛": "'", "`": "'", "´": "'",
        "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
        "—": "--", "―": "--", "–": "-", "‒": "-", "‐": "-", "‑": "-", "−": "-",
        "…": "...", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "\ufeff": "", "\u00ad": "", "•": "-",
    }
)  # fmt: skip


def plain(text: str) -> str:
    """Normalise characters: NFC, straight quotes, `--` for every long dash, single blanks; newlines are kept."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n").translate(_SPELLING)
    text = re.sub(r"-{3,}", "--", text.replace("''", '"'))
    text = "".join(c for c in text if c == "\n" or c == "\t" or unicodedata.category(c)[0] != "C")
    return re.sub(r"[ \t]+", " ", text)


def paragraphs(text: str) -> list[str]:
    """Unwrap hard-wrapped text: blank lines part paragraphs, lines inside one are joined, verse keeps its lines."""
    found = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        lines = [line.strip() for line in block.split("\n") if line.strip()]
        if not lines:
            continue
        # Verse, signatures and lists have short lines throughout; wrapped prose fills all lines but the last.
        verse = len(lines) > 1 and max(len(line) for line in lines) < 52
        joined = "\n".join(lines) if verse else re.sub(r"(\w)- (?=[a-z])", r"\1-", " ".join(lines))
        found.append(plain(joined).strip())
    return [p for p in found if p]


def unmark(text: str) -> str:
    """Remove the plain-text italics and illustration marks of transcribed books."""
    text = re.sub(r"\[(?:Illustration|Footnote|Sidenote)[^\]]*\]", "", text, flags=re.S)
    text = re.sub(r"\[[A-Z]\]|\[\d+\]", "", text)
    return re.sub(r"_([^_]+)_", r"\1", text).replace("_", "")


def gutenberg_body(text: str) -> str:
    """The work itself: what stands between Project Gutenberg's start and end marks, without producer credits."""
    text = text.replace("\r\n", "\n")
    start = re.search(r"\*\*\* ?START OF TH(?:IS|E) PROJECT GUTENBERG EBOOK.*?\*\*\*", text, flags=re.S)
    end = re.search(r"\*\*\* ?END OF TH(?:IS|E) PROJECT GUTENBERG EBOOK", text)
    body = text[start.end() if start else 0 : end.start() if end else len(text)]
    body = re.sub(r"(?:\A|\n)(?:E-text prepared|Produced) by.*?\n\s*\n", "\n\n", body, count=1, flags=re.S)
    return re.sub(r"\nEnd of (?:the )?Project Gutenberg.*", "", body, flags=re.I)


class _Prose(HTMLParser):
    """Collect the prose blocks of a web page; navigation, code, tables and scripts are left out."""

    _BLOCK = frozenset({"p", "li", "dd", "dt", "h1", "h2", "h3", "h4", "div", "blockquote", "ul", "ol", "br"})
    _SKIP = frozenset({"pre", "table", "script", "style", "svg", "form", "head"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = []
        self._text: list[str] = []
        self._skipping = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._SKIP:
            self._skipping += 1
        if tag in self._BLOCK or tag in self._SKIP:
            self.flush()

    def handle_endtag(self, tag: str) -> None:
        if tag in self._SKIP:
            self._skipping = max(0, self._skipping - 1)
        if tag in self._BLOCK:
            self.flush()

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self._text.append(data)

    def flush(self) -> None:
        block = plain(" ".join("".join(self._text).split()))
        self._text.clear()
        if block:
            self.blocks.append(block)


def html_blocks(page: str) -> list[str]:
    """Prose blocks of an HTML page in reading order."""
    parser = _Prose()
    parser.feed(page)
    parser.flush()
    return parser.blocks


def html_inline(fragment: str) -> str:
    """Text of a short HTML fragment on one line; `<br>` becomes a full stop where a sentence did not end."""
    fragment = re.sub(r"(?:\s*<br\s*/?>\s*)+$", "", fragment)
    fragment = re.sub(r"\s*(?:<br\s*/?>\s*)+", "; ", fragment)
    text = html.unescape(html.unescape(re.sub(r"<[^>]+>", "", fragment)))
    return re.sub(r"([.;:!?]); ", r"\1 ", plain(" ".join(text.split()))).strip()
