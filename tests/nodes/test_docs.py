"""The examples of docs/nodes.md run."""

from __future__ import annotations

import re
import types
from pathlib import Path

import pytest
import torch

from backend.graph.declare import declared
from backend.graph.describe import object_info
from tests.nodes.bench import Bench

PAGE = Path(__file__).parents[2] / "docs" / "nodes.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def example(text: str) -> types.ModuleType:
    """The block that holds `text`, as a module."""
    source = next(block for block in BLOCKS if text in block)
    module = types.ModuleType("example")
    exec(compile(source, "nodes.md", "exec", dont_inherit=True), module.__dict__)
    return module


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_brighten(bench: Bench) -> None:
    brighten = example("Brighten").brighten
    image = torch.full((1, 2, 2, 3), 0.5)
    assert torch.allclose(brighten(bench.context(), image=image), torch.tensor(0.6))
    half = brighten(bench.context(), image=image, amount=1.0, mask=torch.tensor([[[1.0, 0.0], [0.0, 0.5]]]))
    assert torch.allclose(half[0, :, :, 0], torch.tensor([[1.0, 0.5], [0.5, 0.75]]))


def test_several_outputs(bench: Bench) -> None:
    module = example("SplitImage")
    halves = module.split_image(bench.context(), image=torch.rand(1, 4, 10, 3), at=3)
    assert halves.left.shape[2] == 3 and halves.right.shape[2] == 7 and halves.at == 3
    assert len(module.images_of_batch(bench.context(), image=torch.rand(5, 2, 2, 3))) == 5
    info = {t.id: object_info(t, lambda files: [files.kind]) for t in declared(vars(module))}
    assert info["SplitImage"]["output"] == ["IMAGE", "IMAGE", "INT"] and info["ImagesOfBatch"]["output_is_list"] == [True]
    assert info["CheckpointName"]["input"]["required"]["name"] == [["checkpoints"]]


def test_saving(bench: Bench) -> None:
    ctx = bench.context({"1": {}})
    example("SaveMask").save_mask(ctx, mask=torch.rand(2, 4, 4), filename_prefix="m/x")
    assert [i["filename"] for i in ctx.shown["images"]] == ["x_00001_.png", "x_00002_.png"]


def test_every_block_is_tested() -> None:
    tested = ("Brighten", "SplitImage", "SaveMask")
    assert all(any(name in block for name in tested) for block in BLOCKS)
