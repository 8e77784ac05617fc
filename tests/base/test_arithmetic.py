"""Formulas: what people type is computed, and nothing else."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.base.arithmetic import evaluate
from backend.base.errors import BadInput

SEEN = [  # as they stand in shared workflows
    ("4 * ceil((a - b * c + c - 1) / 4) + 1", {"a": 81, "b": 3, "c": 2}, 77),
    ("(a % 4 == 1) and ((b - 1) % 4 == 0)", {"a": 5, "b": 9}, True),
    ("max(((a + 15) // 16) * 16, 256)", {"a": 300}, 304),
    ("max(5, round(a * 24)) + (5 - (max(5, round(a * 24)) % 17)) % 17", {"a": 2}, 56),
    ("a & ~1", {"a": 7}, 6),
    ("floor (a * b + 1)", {"a": 2.5, "b": 3}, 8),
    ("a/2", {"a": 5}, 2.5),
    ("a > 2048", {"a": 2048}, False),
    ("min(a,b)", {"a": 3, "b": 2}, 2),
    ("1 if a else 2", {"a": 0}, 2),
    ("2 ** 10 + pi * 0", {}, 1024),
    ("-a ** 2", {"a": 3}, -9),
]


@pytest.mark.parametrize(("formula", "values", "expected"), SEEN)
def test_computes(formula: str, values: dict[str, float], expected: float) -> None:
    assert evaluate(formula, values) == expected


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("a +", "cannot be read"), ("b + 1", "no input of this node"), ("a / 0", "division"), ("open('x')", "no function"),
        ("a.real", "besides numbers"), ("(lambda: 1)()", "besides numbers"), ("__import__('os')", "no function"), ("'x' * 9", "besides"),
        ("9 ** 9 ** 9 ** 9", "too large"), ("1 << 99999999", "shifted"), ("[1]", "besides"), ("(-8) ** 0.5", "negative"),
        ("sqrt(0 - 1)", "no value"), ("min(1)", "no value"), ("(" * 300 + "1" + ")" * 300, "cannot"), ("-" * 500 + "1", "nested"),
        ("a" * 3000, "long"), ("10 ** 400 * 1.0", "no value"), ("", "cannot be read"), ("a\0", "cannot be read"),
    ],
)  # fmt: skip
def test_refuses(formula: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        evaluate(formula, {"a": 1})


@given(st.text(max_size=40))
def test_any_text_is_answered_or_refused(text: str) -> None:
    with suppress(BadInput):
        assert isinstance(evaluate(text, {"a": 2}), int | float)


@given(st.integers(-99, 99), st.integers(1, 99))
def test_agrees_with_python(a: int, b: int) -> None:
    assert evaluate("(a // b) * b + a % b", {"a": a, "b": b}) == a
    assert evaluate("hypot(a, b)", {"a": a, "b": b}) == math.hypot(a, b)
