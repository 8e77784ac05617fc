r"""The prompt syntax: `(text)` counts 1.1 times, `(text:1.3)` counts 1.3, nested ones likewise; `\(` and `\)` are plain parentheses.

A number replaces what the enclosing parentheses gave; without one the weights multiply. Parentheses without a partner are text, with
one rule of the ecosystem kept so that old prompts give old pictures: a group left open at the end of the text counts as a group if the
text ends with `)`, and from an unmatched `)` on everything is text until as many `(` have followed.
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

EMPHASIS = 1.1
HEAVIEST = 1e6
"""Weights are kept within this: anything beyond could only turn the encoding into infinities."""
PARENTHESIS = re.compile(r"\\[()]|[()]")
ESCAPED = re.compile(r"\\([()])")
EMBEDDING = re.compile(r"(?:(?<=\s)|^)embedding:(\S+)")


@dataclass(frozen=True)
class Span:
    """A stretch of prompt with one weight."""

    text: str
    weight: float


@dataclass(frozen=True)
class Layout:
    """Where the parentheses of a text are."""

    opens: list[int]
    """Positions of the `(` that may open a group, in order."""
    partner: dict[int, int]
    """Position of such a `(` -> position of its `)`; none while unclosed."""
    colon: list[int]
    """For each position, the last colon before it, or -1."""
    sign: list[int]
    """For each position, the last parenthesis before it, or -1."""


def layout(text: str) -> Layout:
    """One pass over the text. Linear."""
    opens: list[int] = []
    partner: dict[int, int] = {}
    stack: list[int] = []
    signs: list[int] = []
    below = 0
    for found in PARENTHESIS.finditer(text):
        i, sign = found.start(), found.group()
        if len(sign) == 2:
            continue
        signs.append(i)
        if sign == ")" and stack:
            partner[stack.pop()] = i
        elif sign == ")":
            below += 1
        elif below:
            below -= 1
        else:
            stack.append(i)
            opens.append(i)
    return Layout(opens, partner, last_before(len(text), (m.start() for m in re.finditer(":", text))), last_before(len(text), iter(signs)))


def last_before(length: int, places: Iterator[int]) -> list[int]:
    """For each position 0..length the greatest of the ascending `places` that is less, or -1."""
    last, following = -1, next(places, None)
    result = [-1] * (length + 1)
    for i in range(length + 1):
        while following is not None and following < i:
            last, following = following, next(places, None)
        result[i] = last
    return result


def number(text: str) -> float | None:
    """A finite number, or None (`nan` and `inf` are words)."""
    try:
        value = float(text)
    except ValueError:
        return None
    return max(-HEAVIEST, min(HEAVIEST, value)) if math.isfinite(value) else None


def parse(text: str) -> list[Span]:
    """The prompt as weighted spans, escapes resolved. Linear in the text, whatever the nesting; never fails."""
    places = layout(text)
    spans: list[Span] = []
    todo: list[tuple[int, int, int, float]] = [(0, len(text), 0, 1.0)]
    """Windows left to read, next on top: start, end, index of the first candidate in `opens`, weight."""

    def say(start: int, end: int, weight: float) -> None:
        if end > start:
            spans.append(Span(ESCAPED.sub(r"\1", text[start:end]), weight))

    while todo:
        start, end, nth, weight = todo.pop()
        if nth >= len(places.opens) or places.opens[nth] >= end:
            say(start, end, weight)
            continue
        begin = places.opens[nth]
        say(start, begin, weight)
        close = places.partner.get(begin, end)
        if close < end:
            todo.append((close + 1, end, next_open(places, nth, close), weight))
        elif text[end - 1] == ")" and end - begin >= 2 and not text.endswith("\\)", begin, end):
            close = end - 1
        else:
            say(begin, end, weight)
            continue
        inner_end, inner_weight = weighted(text, places, begin + 1, close, weight)
        todo.append((begin + 1, inner_end, nth + 1, inner_weight))
    return spans


def next_open(places: Layout, nth: int, close: int) -> int:
    """Index in `opens` of the first candidate after `close`."""
    return bisect.bisect_right(places.opens, close, lo=nth)


def weighted(text: str, places: Layout, start: int, end: int, weight: float) -> tuple[int, float]:
    """Where the words of a group's inside end, and their weight."""
    colon = places.colon[end]
    if colon > start and places.sign[end] < colon:
        value = number(text[colon + 1 : end])
        if value is not None:
            return colon, value
    return end, max(-HEAVIEST, min(HEAVIEST, weight * EMPHASIS))


def split_embeddings(text: str) -> Iterator[tuple[bool, str]]:
    """The text in order as (False, words) and (True, name of an embedding); `embedding:name` counts at the start of a word only."""
    at = 0
    for found in EMBEDDING.finditer(text):
        if found.start() > at:
            yield False, text[at : found.start()]
        yield True, found.group(1)
        at = found.end()
    if at < len(text):
        yield False, text[at:]
