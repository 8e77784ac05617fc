"""A person from pictures, in prompts for Stable Diffusion XL."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from backend.base.errors import Problem
from backend.encoders.photomaker.spec import TRIGGER, PhotoMaker, load_photomaker
from backend.engine.context import Context
from backend.graph.declare import Combo, Text, node
from backend.graph.schema import Files, Socket
from nodes.loaders import open_named
from nodes.types import Clip, Conditioning, Image

photomaker_node = partial(node, category="_for_testing/photomaker", module="comfy_extras.nodes_photomaker", form="v3", experimental=True)
PhotoMakerWire = Annotated[PhotoMaker, Socket("PHOTOMAKER")]


@photomaker_node("PhotoMakerLoader", outputs=("PHOTOMAKER",))
def photomaker_loader(ctx: Context, *, photomaker_model_name: str = Combo(Files("photomaker"))) -> PhotoMakerWire:
    """Load PhotoMaker, version 1: place photomaker-v1.bin into models/photomaker. Its LoRA is loaded apart."""
    dtype = ctx.services.device.compute_dtype("text_encoder", ctx.services.settings)
    return open_named(ctx, "photomaker_model_name", "photomaker", photomaker_model_name, lambda path: load_photomaker(path, dtype))


@photomaker_node("PhotoMakerEncode")
def photomaker_encode(
    ctx: Context,
    *,
    photomaker: PhotoMakerWire,
    image: Image,
    clip: Clip,
    text: str = Text("photograph of photomaker", multiline=True, dynamicPrompts=True),
) -> Conditioning:
    """Encode a prompt in which the word before "photomaker" is the person in the pictures: "a man photomaker in a garden"."""
    pool = ctx.services.pool
    try:
        found = photomaker.conditioning(clip, image, text, pool)
    except Problem as problem:
        raise problem.at(node=ctx.node) from problem.__cause__
    if found is None:
        ctx.log(f'The prompt does not name a person: the word "{TRIGGER}" goes after the one that does, as in "a man {TRIGGER}".')
    return clip.conditioning(text, pool) if found is None else found
