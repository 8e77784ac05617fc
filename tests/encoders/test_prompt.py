"""The prompt syntax against a slow recursive reading of its rules, and in linear time."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backend.encoders.clip.prompt import HEAVIEST, Span, parse, split_embeddings


def items(text: str) -> list[str]:
    """Top-level groups and the words between them, by counting levels; a level below zero hides groups."""
    found, current, level = [], "", 0
    for c in text:
        if c == "(":
            if level == 0:
                found.append(current)
                current = ""
            current += c
            level += 1
        elif c == ")":
            level -= 1
            current += c
            if level == 0:
                found.append(current)
                current = ""
        else:
            current += c
    return [item for item in [*found, current] if item]


def slow(text: str, weight: float = 1.0) -> list[tuple[str, float]]:
    """The rules of the syntax applied recursively; escapes are private-use signs by now."""
    result: list[tuple[str, float]] = []
    for item in items(text):
        if len(item) < 2 or not (item[0] == "(" and item[-1] == ")"):
            result.append((item, weight))
            continue
        inner, inner_weight = item[1:-1], weight * 1.1
        head, colon, tail = inner.rpartition(":")
        if colon and head:
            try:
                value = float(tail)
            except ValueError:
                value = math.nan
            if math.isfinite(value):
                inner, inner_weight = head, max(-HEAVIEST, min(HEAVIEST, value))
        result += slow(inner, inner_weight)
    return result


def expected(text: str) -> list[Span]:
    hidden = text.replace("\\)", "\ue001").replace("\\(", "\ue002")
    return [Span(t.replace("\ue001", ")").replace("\ue002", "("), w) for t, w in slow(hidden)]


PROMPTS = st.lists(st.sampled_from(["(", ")", "\\(", "\\)", ":", "1.2", ":0.5", ":nan", "-", "cat", " ", "\\", "a"]), max_size=24).map(
    "".join
)


@given(PROMPTS)
@settings(max_examples=600, deadline=None)
@example("a) (b) c")
@example("((a)")
@example("(((a)))")
@example("(a (b:0.3) c:1.4) d")
@example(")((a:2))")
@example("(a \\):1.3)")
@example("(")
def test_as_the_slow_reading(text: str) -> None:
    assert parse(text) == expected(text)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("", []),
        ("a cat", [("a cat", 1.0)]),
        ("a (cat)", [("a ", 1.0), ("cat", 1.1)]),
        ("((cat))", [("cat", 1.1 * 1.1)]),
        ("(cat:1.3) dog", [("cat", 1.3), (" dog", 1.0)]),
        ("((cat:1.3) dog:0.5)", [("cat", 1.3), (" dog", 0.5)]),
        (r"\(cat\)", [("(cat)", 1.0)]),
        ("(cat:inf)", [("cat:inf", 1.1)]),
        ("smile :) (b:2)", [("smile :) (b:2)", 1.0)]),
        ("(a (b) c", [("(a (b) c", 1.0)]),
        ("(cat:1e30)", [("cat", HEAVIEST)]),
    ],
)
def test_by_hand(text: str, spans: list[tuple[str, float]]) -> None:
    assert parse(text) == [Span(t, w) for t, w in spans]


@pytest.mark.parametrize(
    "text", ["(" * 50_000 + ")" * 50_000, "(" * 100_000, ")" * 100_000, "(a:1.1)" * 15_000, "((a:" * 25_000 + ")" * 50_000]
)
def test_long_prompts_take_linear_time(text: str) -> None:
    start = time.process_time()
    spans = parse(text)
    assert time.process_time() - start < 2
    assert all(math.isfinite(span.weight) for span in spans)


def test_embeddings_start_words() -> None:
    assert list(split_embeddings("a embedding:x/y.pt, b")) == [(False, "a "), (True, "x/y.pt,"), (False, " b")]
    assert list(split_embeddings("embedding:a\nembedding:b")) == [(True, "a"), (False, "\n"), (True, "b")]
    assert list(split_embeddings("noembedding:a embedding: b")) == [(False, "noembedding:a embedding: b")]
