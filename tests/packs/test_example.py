"""The pack that ships as an example does what its guide says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch

from backend.base.events import Progress
from backend.packs.remarks import remarks
from backend.packs.scan import lacking
from tests.packs.home import Home, node
from tests.packs.test_modelled import opened

EXAMPLE = Path(__file__).parents[2] / "custom_nodes" / "example_pack"


def test_the_example_pack(home: Home) -> None:
    shutil.copytree(EXAMPLE, home.packs_at / "example_pack", ignore=shutil.ignore_patterns("__pycache__"))
    opened(home)
    (pack,) = home.loaded.packs
    assert pack.web is not None and lacking(pack.path) == {}
    assert not any(remarks(t, pack.classes.get(t.id)) for t in pack.types)
    graph = {
        "a": node("EmptyImage", width=48, height=64, batch_size=1, color=0xFF0000),
        "b": node("EmptyImage", width=16, height=64, batch_size=1, color=0x0000FF),
        "1": node("ImageStitch", image1=["a", 0], image2=["b", 0], direction="right", match_image_size=False, spacing_width=0,
                  spacing_color="white"),
        "2": node("ExamplePalette", image=["1", 0], count=2, order="amount"),
        "3": node("ExampleTint", image=["2", 0], colour="#00ff00", strength=1.0),
        "4": node("PreviewImage", images=["3", 0]),
        "5": node("PreviewAny", source=["2", 1]),
    }  # fmt: skip
    home.ran(graph)
    assert home.shown("2")["colours"] == ["#ff0000", "#0000ff"] and home.shown("5")["text"] == ["#ff0000\n#0000ff"]
    assert len([p for p in home.of(Progress) if p.node == "2"]) == 12
    tinted = home.results("3")[0][0]
    assert tinted.shape == (1, 64, 128, 3) and torch.equal(tinted[..., 0], torch.zeros_like(tinted[..., 0])) and tinted[..., 1].min() > 0.3
    wrong = home.check({**graph, "3": node("ExampleTint", image=["2", 0], colour="green", strength=1.0)})
    assert "'green' is no colour" in str(wrong.node_errors)


BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", (EXAMPLE.parents[1] / "docs" / "packs.md").read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
)


def test_the_packs_of_the_guide_load_and_run(home: Home) -> None:
    assert len(BLOCKS) == 4
    for i, block in enumerate(BLOCKS):
        home.write(f"guide_{i}/__init__.py", block)
    opened(home)
    assert {t.id for t in home.loaded.types} == {"GuideFade", "GuideCount", "GuideWords"}
    graph = {
        "i": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
        "1": node("GuideFade", image=["i", 0], amount=0.25),
        "2": node("PreviewImage", images=["1", 0]),
        "3": node("GuideCount", step=2),
        "4": node("PreviewAny", source=["3", 0]),
        "5": node("GuideWords", text="three small words"),
    }
    home.ran(graph)
    assert float(home.results("1")[0][0].mean()) == 0.25 and home.shown("5")["text"] == ["3 words"]
    home.ran(graph)
    assert home.shown("4")["text"] == ["4"]
