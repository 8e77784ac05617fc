"""Inputs that are changed at random: a short form of `python -m tests.faults.soak.fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.soak import fuzz

# Found by the long run.
KNOWN = {"weights": [1000155, 10066513], "picture": [1000999, 1002047, 1001546, 2002438]}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::PIL")
@pytest.mark.parametrize("name", ["picture", "weights", "prompt", "workflow"])
def test_a_reader_accepts_or_refuses_and_never_fails(name: str, tmp_path: Path) -> None:
    target = fuzz.targets(tmp_path)[name]
    answers = {fuzz.attack(name, target, number, tmp_path) for number in [*range(200), *KNOWN.get(name, [])]}
    assert answers == {"accepted", "refused"}
