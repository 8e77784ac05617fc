"""Texts that the editor changes on the way into a prompt: `{a|b}` choices with comments, and `%date%`, `%Node.widget%` in file names."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import datetime

_PICTURES = frozenset({"SaveImage", "SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveWEBM", "SaveAudio", "SaveGLB"})
_MODELS = frozenset({"CLIPSave", "VAESave", "ModelSave", "LoraSave", "SaveLatent"})
PREFIX_NODES = _PICTURES | _MODELS
_COMMENT = re.compile(r"/\*|//[^\n]*")
_PATTERN = re.compile(r"%([^%\n]{1,300})%")
_DATE = re.compile(r"yyyy|yy|d+|M+|h+|m+|s+")
_UNSAFE = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')
_MOST_DEPTH = 50


class Choices:
    """Picks among alternatives: always the first, or by chance from a seed, alike for the same texts in the same order."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = None if seed is None else random.Random(seed)

    def pick(self, options: list[str]) -> str:
        """One of the options, of which there is at least one."""
        return options[0] if self._random is None else self._random.choice(options)


def dynamic(text: str, choices: Choices) -> str:
    """The text without comments, each `{a|b}` replaced by one of its parts; braces nest, `\\{`, `\\}` and `\\|` stand for themselves.

    A brace that is not closed is ordinary text. Linear in the length of the text; deeper than 50 braces nothing is chosen.
    """
    if "/" in text:
        text = _uncommented(text)
    if "{" not in text and "\\" not in text:
        return text
    open_groups: list[tuple[list[str], list[str]]] = []  # finished alternatives, parts of the present one
    parts: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text) and text[at + 1] in "{}|":
            parts.append(text[at + 1])
            at += 1
        elif char == "{" and len(open_groups) < _MOST_DEPTH:
            open_groups.append(([], parts))
            parts = []
        elif char == "|" and open_groups:
            open_groups[-1][0].append("".join(parts))
            parts = []
        elif char == "}" and open_groups:
            done, outer = open_groups.pop()
            outer.append(choices.pick([*done, "".join(parts)]))
            parts = outer
        else:
            parts.append(char)
        at += 1
    while open_groups:
        done, outer = open_groups.pop()
        outer += ["{", "|".join([*done, "".join(parts)])]
        parts = outer
    return "".join(parts)


def _uncommented(text: str) -> str:
    """Without `// ...` and `/* ... */`. What is not closed is no comment; in one pass, also where it is opened a million times."""
    kept: list[str] = []
    at, look = 0, 0
    while (found := _COMMENT.search(text, look)) is not None:
        end = found.end()
        if found[0] == "/*":
            closing = text.find("*/", end)
            if closing < 0:  # then none of the later ones is closed either
                return "".join(kept) + re.sub(r"//[^\n]*", "", text[at:])
            end = closing + 2
        kept.append(text[at : found.start()])
        at = look = end
    return "".join(kept) + text[at:]


def replaced(text: str, lookup: Callable[[str, str], object | None], now: datetime) -> str:
    """`%date:yyyy-MM-dd%` and `%Node.widget%` filled in. `lookup(node, widget)` gives a value or None; what is unknown stays as it is."""

    def fill(match: re.Match[str]) -> str:
        inner = match[1]
        if inner == "date" or inner.startswith("date:"):
            return formatted(inner.partition(":")[2] or "yyyyMMddhhmmss", now)
        node, dot, widget = inner.partition(".")
        value = lookup(node, widget) if dot and "." not in widget else None
        return match[0] if value is None else _UNSAFE.sub("_", _text(value))

    return _PATTERN.sub(fill, text)


def formatted(pattern: str, now: datetime) -> str:
    """A time by pattern: d, M, h, m, s padded to as many digits as they are repeated; yy, yyyy."""
    numbers = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def part(match: re.Match[str]) -> str:
        key = match[0]
        if key == "yyyy":
            return f"{now.year:04}"
        return f"{now.year % 100:02}" if key == "yy" else str(numbers[key[0]]).zfill(min(len(key), 100))

    return _DATE.sub(part, pattern)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
