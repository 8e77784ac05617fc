from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.base.errors import BadInput
from backend.base.jsonable import MAX_DEPTH, depth_exceeds, dumps, loads, plain

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_what_is_plain_comes_back_equal(value: Any) -> None:
    text = dumps(value)
    text.encode()
    assert loads(text) == value
    assert loads(json.dumps(value)) == value
    assert plain(value) == value


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ('{"a": NaN}', "NaN"),
        ("[Infinity]", "Infinity"),
        ("[-Infinity]", "-Infinity"),
        ("[1e999]", "too large"),
        ('{"a": [1.5, -1e999]}', "too large"),
        ("-1e999", "too large"),
        ('{"a" : ' * 201 + "1" + "}" * 201, "nested deeper"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' more than once"),
        ("[" * 100_000 + "]" * 100_000, "nested deeper"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested deeper"),
        ("[" * 201 + "]" * 201, "nested deeper"),
        ("9" * 5000, "number"),
        ('["\\ud800"]', "surrogate"),
    ],
)
def test_what_is_refused_is_named(text: str, word: str) -> None:
    with pytest.raises(BadInput, match=word):
        loads(text)


@given(st.sampled_from(["", " ", "\n", "\t\r "]), st.sampled_from(["", " ", "\n"]), st.text(), st.text())
def test_a_key_twice_is_found_however_the_text_is_spaced(before: str, after: str, key: str, value: str) -> None:
    name, colon = json.dumps(key), f"{before}:{after}"
    text = json.dumps(value)
    assert loads(f"[{{{name}{colon}{text}}},{{{name}:{text}}}]") == [{key: value}, {key: value}]
    for twice in (f"{{{name}{colon}{text},{name}:1}}", f"[{{{name}:{text},{name}{colon}2}},{text}]"):
        with pytest.raises(BadInput, match="more than once"):
            loads(twice)


def test_bytes_must_be_utf8() -> None:
    assert loads(b'\xef\xbb\xbf{"a": "\xc3\xa9"}') == {"a": "é"}
    with pytest.raises(BadInput, match="UTF-8"):
        loads(b'"\xff"')


def test_the_deepest_allowed_nesting_passes() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert not depth_exceeds(loads(text), MAX_DEPTH)
    assert depth_exceeds([loads(text)], MAX_DEPTH)


def test_large_and_negative_numbers_keep_their_value() -> None:
    assert loads("18446744073709551615") == 2**64 - 1
    assert loads("1" + "0" * 400) == 10**400


def test_plain_describes_what_json_cannot_say() -> None:
    class Tensor:
        shape = (1, 2)

    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no")

    class Scalar:
        ndim = 0

        def item(self) -> float:
            return 2.5

    given = {1: (1, 2.0), "n": math.nan, "i": -math.inf, "p": Path("a"), "t": Tensor(), "r": Rude(), "s": Scalar(), "set": {3}}
    made = plain(given)
    assert made == {
        "1": [1, 2.0],
        "n": None,
        "i": None,
        "p": "a",
        "t": "Tensor[1, 2]",
        "r": "<Rude: RuntimeError in its text>",
        "s": 2.5,
        "set": [3],
    }
    dumps(made)


def test_broken_characters_can_be_sent() -> None:
    assert loads(dumps({"name": "a\udcffb é 😀", "\ud800": 1})) == {"name": "a�b é 😀", "�": 1}


def test_plain_ends_on_cycles() -> None:
    loop: list[Any] = []
    loop.append(loop)
    dumps(plain(loop))
