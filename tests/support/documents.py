"""The commands that our documents print, as a reader would copy them: fenced blocks, and commands inside a sentence or a table."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

SHELL = ("sh", "bash", "shell", "console")
# What a command begins with, after variables of its own. A name alone, without anything after it, is a name.
_PROGRAM = r"(?:\S*/)?(?:bfs|curl|docker|git|kubectl|make|mlflow|pip3?|pytest|python3?|ray|ruff|serve|uv)"
_COMMAND = re.compile(rf"(?:\w+=\S*\s+)*(?:{_PROGRAM}|\S+/\S+\.(?:py|sh))\s+\S", re.DOTALL)
_HERE = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")


@dataclass(frozen=True)
class Block:
    """What stands in one place of a document: `language` is sh, python, json or text; an inline command is a block of its own."""

    document: Path
    line: int
    language: str
    text: str
    inline: bool = False

    @property
    def place(self) -> str:
        """Where a reader finds it."""
        return f"{self.document.name}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The commands of a shell block as words, without comments, redirections' bodies, and variables that stand before them."""
        found = []
        for line in _logical_lines(self.text):
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):
                del words[0]
            if words:
                found.append(words)
        return found


def documents(root: Path) -> list[Path]:
    """The documents whose commands must run."""
    return [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("**/*.md"))]


def blocks(document: Path) -> list[Block]:
    """All code of a document, in its order."""
    tokens = MarkdownIt("commonmark").enable("table").parse(document.read_text(encoding="utf-8"))
    return [block for token in tokens for block in _of(token, document)]


def spans(document: Path) -> list[str]:
    """All code inside sentences and tables, commands or not."""
    tokens = MarkdownIt("commonmark").enable("table").parse(document.read_text(encoding="utf-8"))
    return [child.content for token in tokens for child in token.children or () if child.type == "code_inline"]


def _of(token: Token, document: Path) -> Iterator[Block]:
    line = token.map[0] + 1 if token.map else 0
    if token.type in ("fence", "code_block"):
        language = token.info.split()[0] if token.info.split() else ""
        text = token.content
        prompted = [row.removeprefix("$ ") for row in text.splitlines() if row.startswith("$ ")]
        if prompted:  # the other lines are what the commands print
            language, text = "sh", "\n".join(prompted) + "\n"
        elif not language:
            language = "sh" if any(_COMMAND.match(row.strip()) for row in text.splitlines()) else "text"
        yield Block(document, line, "sh" if language in SHELL else language, text)
    for child in token.children or ():
        if child.type == "code_inline" and _COMMAND.match(child.content):
            yield Block(document, line, "sh", " ".join(child.content.split()) + "\n", inline=True)


def _logical_lines(text: str) -> Iterator[str]:
    """Lines of a script, continued ones joined, here-documents left out."""
    rows = iter(text.replace("\\\n", " ").splitlines())
    for row in rows:
        if row.strip():
            yield row
        if here := _HERE.search(row):
            while next(rows, here[2]).strip() != here[2]:
                pass
