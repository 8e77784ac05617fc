"""Checks and marks of finished pictures. Nothing here runs unless it is placed."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch

from backend.base.errors import BadInput
from backend.encoders.clip_vision.safety import SafetyChecker, load_safety_checker
from backend.engine.context import Context
from backend.graph.declare import Choice, FileChoice, Float, Int, Text, node
from backend.graph.schema import Socket
from backend.imaging import watermark
from nodes.loaders import open_named
from nodes.types import BoolOut, Image, TextOut

Checker = Annotated[SafetyChecker, Socket("SAFETY_CHECKER")]


class Checked(NamedTuple):
    images: Image
    flagged: BoolOut


@node("LoadSafetyChecker", title="Load Safety Checker", category="image/safety", module="nodes")
def load_checker(ctx: Context, *, name: str = FileChoice("clip_vision")) -> Checker:
    """Load the safety checker of Stable Diffusion 1: place its file into models/clip_vision."""
    dtype = ctx.services.device.compute_dtype("vae", ctx.services.settings)
    return open_named(ctx, "name", "clip_vision", name, lambda path: load_safety_checker(path, dtype))


@node("SafetyCheck", title="Safety Check", category="image/safety", module="nodes")
def safety_check(
    ctx: Context,
    *,
    images: Image,
    safety_checker: Checker,
    action: str = Choice(["blacken", "blur", "stop", "leave"]),
    sensitivity: float = Float(0.0, min=-1.0, max=1.0, step=0.005, tooltip="Higher flags more."),
) -> Checked:
    """Look for pictures that show what the checker was made to find, and blacken, blur or refuse them."""
    flags = safety_checker.flagged(images[..., :3], ctx.services.pool, sensitivity)
    if not any(flags):
        return Checked(images, False)
    which = [i for i, flag in enumerate(flags) if flag]
    ctx.log(f"The safety checker flagged {len(which)} of {len(flags)} images: {', '.join(str(i + 1) for i in which[:20])}.")
    if action == "stop":
        raise BadInput("The safety checker flagged a picture.", hint="Change the prompt or the seed.", node=ctx.node, input="images")
    made = images.clone()
    for i in which:
        if action == "blacken":
            made[i] = 0
        elif action == "blur":
            made[i] = _blurred(made[i])
    return Checked(made, True)


def _blurred(image: torch.Tensor) -> torch.Tensor:
    """A picture of twelve cells along its longer side, enlarged again: nothing is left but colours."""
    height, width = image.shape[:2]
    cells = (max(1, round(12 * height / max(height, width))), max(1, round(12 * width / max(height, width))))
    small = torch.nn.functional.interpolate(image.movedim(-1, 0).unsqueeze(0), cells, mode="area")
    return torch.nn.functional.interpolate(small, (height, width), mode="bilinear").squeeze(0).movedim(0, -1)


def _text() -> str:
    widget: str = Text("Emulsion", multiline=False, tooltip="Its UTF-8 bytes are written; eight bits each.")
    return widget


@node("InvisibleWatermark", title="Invisible Watermark", category="image/safety", module="nodes")
def invisible_watermark(ctx: Context, *, images: Image, text: str = _text()) -> Image:
    """Write a short text into pictures so that it cannot be seen, as programs read that know the method dwtDct."""
    return watermark.mark(images, watermark.bits_of(text))


@node("ReadWatermark", title="Read Watermark", category="image/safety", module="nodes")
def read_watermark(ctx: Context, *, images: Image, length: int = Int(8, min=1, max=1024, tooltip="Bytes.")) -> TextOut:
    """Read an invisible mark of known length; a picture without one gives letters by chance."""
    return "\n".join(watermark.text_of(bits) for bits in watermark.read(images, length * 8))
