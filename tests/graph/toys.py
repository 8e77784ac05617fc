"""Small node types and prompts that tests of the graph and of the engine share."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from backend.engine.context import Context
from backend.graph.declare import Bool, Choice, Combo, FileChoice, Float, Int, SavePrefix, Text, Wired, node
from backend.graph.registry import Registry
from backend.graph.schema import Socket

Image = Annotated[object, Socket("IMAGE")]
Mask = Annotated[object, Socket("MASK")]
Number = Annotated[int, Socket("INT")]
Anything = Annotated[object, Socket("*", wildcard=True)]
Star = Annotated[object, Socket("*")]
Either = Annotated[object, Socket("MASK, IMAGE")]


class Pair(NamedTuple):
    image: Image
    mask: Mask


@node("Source", category="toy")
def source(ctx: Context, *, seed: int = Int(0, min=0, max=2**64 - 1), size: float = Float(1.0, min=0, max=8)) -> Image:
    """An image of a seed."""
    return ("image", seed, size)


@node("Split", category="toy")
def split(ctx: Context, *, image: Image, mode: str = Choice(["a", "b"]), note: str = Text("", optional=True)) -> Pair:
    return Pair(("left", image), ("right", image))


@node("Add", category="toy")
def add(ctx: Context, *, a: Number = Int(0), b: int = Int(1)) -> Number:
    return a + b


@node("Join", category="toy")
def join(ctx: Context, *, a: Image, b: Image, mask: Mask | None = None, on: bool = Bool(True, optional=True)) -> Image:
    return (a, b, mask, on)


@node("Load", category="toy")
def load(ctx: Context, *, name: str = FileChoice("checkpoints"), picture: str = FileChoice("input", optional=True)) -> Image:
    return name


@node("Keep", category="toy", output=True)
def keep(ctx: Context, *, filename_prefix: str = SavePrefix("x")) -> None:
    """Writes files below the output directory."""


@node("Flexible", category="toy")
def flexible(ctx: Context, *, any: Anything, either: Either = Wired(optional=True), combo: str = Combo(["x"], optional=True)) -> Star:
    return any


@node("Strict", category="toy")
def strict(ctx: Context, *, star: Star) -> Anything:
    return star


@node("Show", category="toy", output=True)
def show(ctx: Context, *, image: Image = Wired(tooltip="what to show")) -> None:
    ctx.show("text", [str(image)])


@node("ShowNumber", category="toy", output=True)
def show_number(ctx: Context, *, a: Number = Wired()) -> None:
    ctx.show("text", [str(a)])


def _picky(size: int) -> bool | str:
    if size == 13:
        raise RuntimeError("unlucky")
    return True if size % 2 == 0 else "must be even"


@node("Picky", category="toy", output=True, validate=_picky)
def picky(ctx: Context, *, size: int = Int(0, min=0, max=4), other: int = Int(0, max=4, optional=True)) -> None:
    return None


def _typed(input_types: dict[str, Any]) -> bool | str:
    return True if input_types.get("image") in ("IMAGE", "INT") else "wants an image or a number"


@node("Typed", category="toy", output=True, validate=_typed)
def typed(ctx: Context, *, image: Image) -> None:
    return None


REGISTRY = Registry(
    f.node_type  # type: ignore[attr-defined]
    for f in (source, split, add, join, load, flexible, strict, keep, show, show_number, picky, typed)
)


def n(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node of a document."""
    return {"class_type": class_type, "inputs": inputs}
