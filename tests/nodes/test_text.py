from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.base.errors import BadInput
from backend.engine.context import Context
from nodes import preview_any, primitive, string


@pytest.fixture
def ctx() -> Context:
    return Context("job", "7")


CTX = Context("job", "7")


@settings(deadline=None)
@given(st.text(), st.text(), st.text())
def test_concatenate(a: str, b: str, delimiter: str) -> None:
    assert string.concatenate(CTX, string_a=a, string_b=b, delimiter=delimiter) == a + delimiter + b


@settings(deadline=None)
@given(st.text(), st.integers(-9, 9), st.integers(-9, 9))
def test_substring_and_length(text: str, start: int, end: int) -> None:
    letters = list(text)
    assert string.substring(CTX, string=text, start=start, end=end) == "".join(letters[start:end])
    assert string.length(CTX, string=text) == len(letters)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("UPPERCASE", "ÉTÉ AND NOON"), ("lowercase", "été and noon"), ("Capitalize", "Été and noon"), ("Title Case", "Été And Noon")],
)
def test_case(mode: str, expected: str) -> None:
    assert string.change_case(CTX, string="été And NOON", mode=mode) == expected


@pytest.mark.parametrize(("mode", "expected"), [("Both", "a b"), ("Left", "a b \n"), ("Right", "\t a b")])
def test_trim(mode: str, expected: str) -> None:
    assert string.trim(CTX, string="\t a b \n", mode=mode) == expected


def test_a_value_outside_the_list_is_refused_with_the_choices() -> None:
    run = string.trim.node_type.run
    assert run(CTX, string=" a ", mode="Both") == "a"
    with pytest.raises(BadInput, match=r"`mode` is 'Middle'\. Choose one of Both, Left, Right") as error:
        run(CTX, string=" a ", mode="Middle")
    assert (error.value.where.node, error.value.where.input) == ("7", "mode")


def test_replace_contains_compare() -> None:
    assert string.replace_text(CTX, string="a.b.c", find=".", replace="--") == "a--b--c"
    assert string.contains(CTX, string="Red Cat", substring="cat", case_sensitive=False)
    assert not string.contains(CTX, string="Red Cat", substring="cat", case_sensitive=True)
    for mode, other in (("Starts With", "re"), ("Ends With", "AT"), ("Equal", "rED cAT")):
        assert string.compare(CTX, string_a="Red Cat", string_b=other, mode=mode, case_sensitive=False)
        assert not string.compare(CTX, string_a="Red Cat", string_b=other, mode=mode, case_sensitive=True)


FLAGS: dict[str, bool] = {"case_insensitive": True, "multiline": False, "dotall": False}


def test_regex_flags() -> None:
    assert string.regex_match(CTX, string="Cat", regex_pattern="^cat$", **FLAGS)
    assert not string.regex_match(CTX, string="Cat", regex_pattern="^cat$", **{**FLAGS, "case_insensitive": False})
    assert string.regex_match(CTX, string="a\ncat", regex_pattern="^cat", **{**FLAGS, "multiline": True})
    assert not string.regex_match(CTX, string="a\ncat", regex_pattern="^cat", **FLAGS)
    assert string.regex_match(CTX, string="a\nb", regex_pattern="a.b", **{**FLAGS, "dotall": True})


@pytest.mark.parametrize(
    ("pattern", "mode", "group", "expected"),
    [
        (r"\d+", "First Match", 1, "12"),
        (r"\d+", "All Matches", 1, "12\n345\n6"),
        (r"(\d)(\d+)?", "All Matches", 1, "1\n3\n6"),
        (r"(\w)(\d+)", "First Group", 2, "12"),
        (r"(\w)(\d+)", "All Groups", 1, "a\nb\nc"),
        (r"(\w)(x)?", "First Group", 2, ""),
        (r"\w(\d+)", "First Group", 2, ""),
        (r"zzz", "All Matches", 1, ""),
        (r"zzz", "First Match", 1, ""),
        (r"\w(\d+)", "All Groups", 0, "a12\nb345\nc6"),
    ],
)
def test_regex_extract(pattern: str, mode: str, group: int, expected: str) -> None:
    assert string.regex_extract(CTX, string="a12 b345 c6", regex_pattern=pattern, mode=mode, group_index=group, **FLAGS) == expected


def test_regex_replace() -> None:
    def run(**more: Any) -> str:
        inputs = {"string": "a1 b2 c3", "regex_pattern": r"(\w)(\d)", "replace": r"\2\1", **FLAGS, "count": 0, **more}
        return str(string.regex_replace(CTX, **inputs))

    assert run() == "1a 2b 3c"
    assert run(count=2) == "1a 2b c3"


def test_regex_mistakes_are_sentences_that_name_the_input() -> None:
    with pytest.raises(BadInput, match="cannot be read") as error:
        string.regex_match(CTX, string="a", regex_pattern="(", **FLAGS)
    assert error.value.where.input == "regex_pattern" and error.value.where.node == "7"
    with pytest.raises(BadInput, match="cannot be used") as error:
        string.regex_replace(CTX, string="a", regex_pattern="a", replace=r"\9", count=0, **FLAGS)
    assert error.value.where.input == "replace"


def test_optional_widgets_have_their_defaults() -> None:
    assert string.regex_replace(CTX, string="Aa", regex_pattern="a", replace="b") == "bb"


@pytest.mark.parametrize(
    "run", [primitive.text_value, primitive.long_text_value, primitive.int_value, primitive.float_value, primitive.bool_value]
)
def test_primitives_pass_their_value_on(run: Any) -> None:
    value = object()
    assert run(CTX, value=value) is value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("é", "é"), (3, "3"), (2.5, "2.5"), (True, "True"), (None, "None"),
        ({"a": [1]}, '{\n    "a": [\n        1\n    ]\n}'), ([1j], "[1j]"),
    ],
)  # fmt: skip
def test_preview_any(ctx: Context, value: Any, shown: str) -> None:
    preview_any.preview_any(ctx, source=value)
    assert ctx.shown["text"] == [shown]
