"""Every one of the 64 cases has tests that exist, and the document shows them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.faults.cases import CASES, Case, table

ROOT = Path(__file__).resolve().parents[2]


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return frozenset(
        n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and n.name.startswith("test_")
    )


def test_there_are_64() -> None:
    assert [case.number for case in CASES] == list(range(1, 65))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"case-{case.number}")
def test_the_names_in_a_case_exist(case: Case) -> None:
    assert case.tests
    for test in case.tests:
        file, name = test.split("::")
        assert name in names_in(file)


def test_the_document_shows_the_table() -> None:
    assert table() in (ROOT / "docs" / "reliability.md").read_text("utf-8")
