"""The example of docs/samplers.md runs, and its table names every solver."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from backend.diffusion.samplers import EXTRA, SAMPLERS
from backend.diffusion.schedules import SCHEDULERS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "samplers.md").read_text(encoding="utf-8")


def test_the_example_samples_normal_data() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["picture"].shape == (1, 4, 8, 8) and 0.7 < float(names["picture"].std()) < 1.3


def test_every_name_is_described() -> None:
    words = set(re.findall(r"\w+", TEXT))
    for name in [*SAMPLERS, *EXTRA, *SCHEDULERS]:
        known = {name}
        for ending in ("_gpu", "_heun", "_cfg_pp", "_pece", "_ancestral"):  # variants share their solver's row
            known |= {n.removesuffix(ending) for n in known}
        assert known & words, name
