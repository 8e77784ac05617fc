"""Nodes of Qwen Image: prompts that speak of pictures, layers, camera angles."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from backend.base.errors import BadInput, Problem
from backend.encoders.lm.handle import LmHandle
from backend.engine.context import Context
from backend.families.qwen_image.texts import EDIT
from backend.graph.declare import Float, Int, Text, node
from backend.graph.schema import Socket
from backend.imaging.resize import resize
from nodes.conditioning_values import appended
from nodes.types import MAX_SIDE, Clip, Conditioning, Image, Latent, TextOut, Vae

qwen = partial(node, module="comfy_extras.nodes_qwen", category="advanced/conditioning", form="v3")
Camera = Annotated[dict[str, Any], Socket("LOAD3D_CAMERA")]
MEGAPIXEL, GLANCE = 1024 * 1024, 384 * 384
"""Pixels of a picture as a reference, and as Qwen2.5-VL glances at it."""
PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
CELL = 8


def scaled(image: Tensor, pixels: int, step: int = 1) -> Tensor:
    """The first picture of [B, H, W, C], in colour, with about so many pixels and sides that are multiples of `step`; as it was shaped."""
    height, width = image.shape[1:3]
    by = math.sqrt(pixels / (height * width))
    tall, wide = (max(step, round(side * by / step) * step) for side in (height, width))
    return resize(image[:1, :, :, :3].movedim(-1, 1), wide, tall, "area", "disabled").movedim(1, -1)


def asked(ctx: Context, clip: Any, prompt: str, images: list[Tensor], template: str | None) -> list[Any]:
    """The prompt, with marks for pictures, and the pictures [1, H, W, 3] as conditioning."""
    if not isinstance(clip, LmHandle):
        raise BadInput(
            "This text encoder cannot read a prompt with pictures.",
            hint="Load Qwen2.5-VL with Load CLIP, type qwen_image.",
            node=ctx.node,
            input="clip",
        )
    try:
        tokens = clip.tokenize(prompt, images=[image[0] for image in images], template=template)
        return clip.encoded(tokens, ctx.services.pool).conditioning()
    except Problem as problem:
        raise problem.at(node=ctx.node, input="clip") from problem.__cause__


@qwen("TextEncodeQwenImageEdit")
def text_encode_qwen_image_edit(
    ctx: Context,
    *,
    clip: Clip,
    prompt: str = Text(multiline=True, dynamicPrompts=True),
    vae: Vae | None = None,
    image: Image | None = None,
) -> Conditioning:
    """Say how to change a picture. The text encoder sees it, and with a VAE the model does too."""
    if image is None:
        return asked(ctx, clip, prompt, [], None)
    seen = scaled(image, MEGAPIXEL)
    made = asked(ctx, clip, PICTURE + prompt, [seen], EDIT)
    return made if vae is None else appended(made, "reference_latents", vae.encode(seen, ctx.services.pool))


@qwen("TextEncodeQwenImageEditPlus")
def text_encode_qwen_image_edit_plus(
    ctx: Context,
    *,
    clip: Clip,
    prompt: str = Text(multiline=True, dynamicPrompts=True),
    vae: Vae | None = None,
    image1: Image | None = None,
    image2: Image | None = None,
    image3: Image | None = None,
) -> Conditioning:
    """Say what to make of up to three pictures, called Picture 1 to 3. The text encoder sees them, and with a VAE the model does too."""
    given = [(number, image) for number, image in enumerate((image1, image2, image3), 1) if image is not None]
    marks = "".join(f"Picture {number}: {PICTURE}" for number, _ in given)
    made = asked(ctx, clip, marks + prompt, [scaled(image, GLANCE) for _, image in given], EDIT)
    if vae is None:
        return made
    for _, image in given:
        made = appended(made, "reference_latents", vae.encode(scaled(image, MEGAPIXEL, CELL), ctx.services.pool))
    return made


@node("EmptyQwenImageLayeredLatentImage", title="Empty Qwen Image Layered Latent", category="latent/qwen",
      module="comfy_extras.nodes_qwen", form="v3")  # fmt: skip
def empty_qwen_image_layered(
    ctx: Context,
    *,
    width: int = Int(640, min=16, max=MAX_SIDE, step=16),
    height: int = Int(640, min=16, max=MAX_SIDE, step=16),
    layers: int = Int(3, min=0, max=MAX_SIDE, step=1),
    batch_size: int = Int(1, min=1, max=4096),
) -> Latent:
    """Nothing yet, for a picture and the layers that it is made of."""
    return {"samples": torch.zeros(batch_size, 16, layers + 1, height // CELL, width // CELL)}


class Angle(NamedTuple):
    camera_info: Camera
    prompt: TextOut


SIDES = (
    "front view", "front-right quarter view", "right side view", "back-right quarter view",
    "back view", "back-left quarter view", "left side view", "front-left quarter view",
)  # fmt: skip
"""Eighths of a turn around the subject, the first one centred on its face."""
HEIGHTS = ((-15, "low-angle shot"), (15, "eye-level shot"), (45, "elevated shot"), (math.inf, "high-angle shot"))
"""Up to so many degrees above the horizon."""
DISTANCES = ((2, "wide shot"), (6, "medium shot"), (math.inf, "close-up"))
"""Up to such a zoom."""
RADIUS = 2.0
"""Of the ball that the camera moves on, at the middle of the zoom."""


@node("CameraAngle", title="Camera Angle", category="image", module="comfy_extras.nodes_qwen", form="v3")
def camera_angle(
    ctx: Context,
    *,
    horizontal_angle: int = Int(0, min=0, max=360, step=1, tooltip="Degrees around the subject, from its face to its right."),
    vertical_angle: int = Int(0, min=-30, max=60, step=1, tooltip="Degrees above the horizon."),
    zoom: float = Float(5.0, min=0.0, max=10.0, step=0.1),
    view: str = Text("camera"),
    image: Image | None = None,
) -> Angle:
    """Where a camera stands, in the words that the multiple angles LoRA of Qwen Image Edit was taught."""
    side = SIDES[round(horizontal_angle / 45) % len(SIDES)]
    height = next(word for most, word in HEIGHTS if vertical_angle < most)
    distance = next(word for most, word in DISTANCES if zoom < most)
    return Angle(_camera(horizontal_angle, vertical_angle, zoom), f"<sks> {side} {height} {distance}")


def _camera(around: float, above: float, zoom: float) -> dict[str, Any]:
    """What a viewer of 3D shapes calls a camera, looking at the origin."""
    a, h, radius = math.radians(around), math.radians(above), RADIUS * 2 ** ((5.0 - zoom) / 5.0)
    position = {"x": radius * math.sin(a) * math.cos(h), "y": radius * math.sin(h), "z": radius * math.cos(a) * math.cos(h)}
    return {"position": position, "target": {"x": 0.0, "y": 0.0, "z": 0.0}, "zoom": 1.0, "cameraType": "perspective"}
