"""An example of a node pack: one node in this application's own form, one in the class form, and a script for the editor.

`docs/packs.md` explains it. Copy the folder, rename the nodes, and try it with `python main.py pack test custom_nodes/your_pack`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.graph.declare import Choice, Int, node
from nodes.types import Image, TextOut

WEB_DIRECTORY = "./web"
_SIDE = 64  # pixels: colours are looked for in a small copy
_ROUNDS = 12


class Palette(NamedTuple):
    """The outputs of the node, in their order."""

    strip: Image
    colours: TextOut


@node("ExamplePalette", title="Palette (example)", category="example")
def palette(ctx: Context, *, image: Image, count: int = Int(5, min=2, max=16), order: str = Choice(["amount", "brightness"])) -> Palette:
    """The colours that stand for a picture, as a strip and as text; the script of the pack shows them on the node."""
    pixels = F.interpolate(image[..., :3].movedim(-1, 1).float(), size=(_SIDE, _SIDE), mode="area").movedim(1, -1).reshape(-1, 3)
    found, amounts = _clusters(pixels, count, ctx)
    by = amounts if order == "amount" else found.mean(1)
    found = found[by.argsort(descending=True)]
    names = [hexadecimal(colour) for colour in found]
    ctx.show("colours", names)
    strip = found.reshape(1, 1, -1, 3).repeat_interleave(_SIDE, 1).repeat_interleave(_SIDE, 2)
    return Palette(strip, "\n".join(names))


def _clusters(pixels: torch.Tensor, count: int, ctx: Context) -> tuple[torch.Tensor, torch.Tensor]:
    """k-means (Lloyd 1982) of [N, 3] from evenly spread brightness: centres [count, 3] and how many pixels each has."""
    order = pixels.sum(1).argsort()
    centres = pixels[order[torch.linspace(0, len(pixels) - 1, count).long()]]
    for i in range(_ROUNDS):
        nearest = torch.cdist(pixels, centres).argmin(1)
        sizes = torch.bincount(nearest, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, nearest, pixels)
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centres)
        ctx.progress(i + 1, _ROUNDS)  # also notices when the run is cancelled
    return centres, sizes


def hexadecimal(colour: torch.Tensor) -> str:
    """[3] in 0..1 as #rrggbb."""
    red, green, blue = (int(c) for c in (colour * 255).round().clamp(0, 255))
    return f"#{red:02x}{green:02x}{blue:02x}"


def parsed(text: str) -> torch.Tensor:
    """#rrggbb as [3] in 0..1. Raises BadInput."""
    digits = text.strip().removeprefix("#")
    try:
        values = bytes.fromhex(digits)
    except ValueError:
        values = b""
    if len(values) != 3:
        raise BadInput(f"{text!r:.40} is no colour.", hint="Write it like #ff8800.", input="colour")
    return torch.tensor(list(values), dtype=torch.float32) / 255


class Tint:
    """A picture drawn towards one colour. The class form runs unchanged in other hosts of such nodes."""

    CATEGORY = "example"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "tint"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE",),
                "colour": ("EXAMPLE_COLOUR", {"default": "#ff8800"}),
                "strength": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01}),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, colour: Any) -> bool | str:
        try:
            parsed(str(colour))
        except BadInput as problem:
            return str(problem)
        return True

    def tint(self, image: torch.Tensor, colour: str, strength: float) -> tuple[torch.Tensor]:
        grey = image[..., :3].mean(-1, keepdim=True)
        return (torch.lerp(image[..., :3], grey * parsed(colour), strength),)


NODE_CLASS_MAPPINGS = {"ExampleTint": Tint}
NODE_DISPLAY_NAME_MAPPINGS = {"ExampleTint": "Tint (example)"}
