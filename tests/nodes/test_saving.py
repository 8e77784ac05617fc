"""Files are written beside the computing, and are there when the node is."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from backend.base.config import Settings
from backend.base.events import Event, NodeFinished, NodeShown, NodeStarted, RunFailed, RunSucceeded
from backend.base.paths import Folders
from backend.engine.context import Context, Services
from backend.engine.executor import Executor, Job
from backend.graph.declare import Float, node
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from nodes import image_files
from nodes.saving import each
from nodes.types import Image as Pixels

meanwhile = threading.Event()


@node("Picture", category="test")
def picture(ctx: Context, *, value: float = Float(0.5)) -> Pixels:
    return torch.full((3, 8, 8, 3), value)


@node("Meanwhile", category="test", output=True)
def other(ctx: Context, *, images: Pixels) -> None:
    """Runs while the picture is saved."""
    meanwhile.set()


def run(folders: Folders, prompt: dict[str, Any]) -> list[Event]:
    events: list[Event] = []
    types = [f.node_type for f in (picture, other, image_files.save_image)]  # type: ignore[attr-defined]
    executor = Executor(Registry(types), events.append, services=Services(folders=folders, settings=Settings()))
    executor.run(Job("1", Prompt.parse(prompt), tuple(id for id, n in prompt.items() if n["class_type"] != "Picture")), lambda: False)
    return events


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders.of(tmp_path)
    made.create()
    return made


def graph(*more: str) -> dict[str, Any]:
    nodes: dict[str, Any] = {"1": {"class_type": "Picture", "inputs": {"value": 0.5}}}
    for i, type in enumerate(more, 2):
        nodes[str(i)] = {"class_type": type, "inputs": {"images": ["1", 0]} | ({"filename_prefix": "a"} if type == "SaveImage" else {})}
    return nodes


def test_others_run_while_a_picture_is_written(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile.clear()
    write = image_files.write_png

    def slow(*args: Any) -> None:
        assert meanwhile.wait(10), "nothing else ran"
        write(*args)

    monkeypatch.setattr(image_files, "write_png", slow)
    events = run(folders, graph("SaveImage", "Meanwhile"))
    assert isinstance(events[-1], RunSucceeded)
    order = [(type(e).__name__, e.node) for e in events if isinstance(e, (NodeStarted, NodeFinished))]
    assert order.index(("NodeStarted", "2")) < order.index(("NodeFinished", "3")) < order.index(("NodeFinished", "2"))


def test_what_is_told_is_on_disk(folders: Folders) -> None:
    shown = [e for e in run(folders, graph("SaveImage")) if isinstance(e, NodeShown)]
    names = [item["filename"] for item in shown[0].output["images"]]
    assert names == ["a_00001_.png", "a_00002_.png", "a_00003_.png"]
    for name in names:
        with Image.open(folders.output / name) as made:
            assert made.size == (8, 8)
            made.load()


def test_two_nodes_that_save_under_one_name_share_its_numbers(folders: Folders) -> None:
    prompt = graph("SaveImage", "SaveImage")
    prompt["4"] = {"class_type": "Picture", "inputs": {"value": 0.25}}
    prompt["3"]["inputs"]["images"] = ["4", 0]
    events = run(folders, prompt)
    names = [item["filename"] for e in events if isinstance(e, NodeShown) for item in e.output["images"]]
    assert sorted(names) == [f"a_{i:05}_.png" for i in range(1, 7)]
    assert len(list(folders.output.glob("*.png"))) == 6


def test_a_disk_that_is_full_fails_the_node(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_files, "write_png", full)
    (failed,) = [e for e in run(folders, graph("SaveImage")) if isinstance(e, RunFailed)]
    assert failed.node == "2"


def test_each_keeps_the_order_and_asks_for_no_more_than_it_works_on() -> None:
    asked: list[int] = []

    def values() -> Any:
        for i in range(40):
            asked.append(i)
            yield i

    made = each(lambda i: i * i, values())
    assert next(made) == 0
    assert len(asked) <= 5
    assert list(made) == [i * i for i in range(1, 40)]
