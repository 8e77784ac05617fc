from __future__ import annotations

from backend.base.errors import BadFile, Interrupted, OutOfMemory, Problem, Where


def test_a_problem_says_what_where_and_what_next() -> None:
    problem = BadFile("a.safetensors is cut off.", hint="Download it again.", file="a.safetensors")
    assert str(problem) == "a.safetensors is cut off. Download it again."
    assert problem.at(node="4", file="other").where == Where("4", None, "a.safetensors")
    assert problem.to_json() == {
        "kind": "BadFile",
        "message": "a.safetensors is cut off.",
        "hint": "Download it again.",
        "where": {"node": "4", "file": "a.safetensors"},
    }


def test_what_is_known_is_not_overwritten() -> None:
    assert OutOfMemory("No.", node="1").at(node="2", input="x").where == Where("1", "x", None)


def test_an_interruption_is_no_problem() -> None:
    assert not issubclass(Interrupted, Problem)
