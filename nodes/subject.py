"""Subject-driven generation (BLIP-Diffusion): a picture of something, and a prompt that says what it does."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from backend.base.errors import BadInput
from backend.encoders.clip.handle import ClipHandle
from backend.encoders.qformer.spec import SubjectEncoder, load_subject_encoder, with_subject
from backend.engine.context import Context
from backend.graph.declare import FileChoice, Int, Text, node
from backend.graph.schema import Socket
from nodes.loaders import open_named
from nodes.types import Clip, Conditioning, Image

subject_node = partial(node, module="emulsion")
SubjectWire = Annotated[SubjectEncoder, Socket("SUBJECT_ENCODER")]


@subject_node("LoadSubjectEncoder", title="Load Subject Encoder", category="loaders")
def load_subject(ctx: Context, *, model_path: str = FileChoice("diffusers")) -> SubjectWire:
    """Load the subject encoder (Q-Former) of a BLIP-Diffusion folder in models/diffusers. DiffusersLoader loads its other parts."""
    dtype = ctx.services.device.compute_dtype("text_encoder", ctx.services.settings)
    return open_named(ctx, "model_path", "diffusers", model_path, lambda path: load_subject_encoder(path, dtype))


@subject_node("SubjectTextEncode", title="Subject Text Encode", category="conditioning/subject")
def subject_text_encode(
    ctx: Context,
    *,
    clip: Clip,
    subject_encoder: SubjectWire,
    image: Image,
    text: str = Text("", multiline=True, dynamicPrompts=True, tooltip="What the subject does and where; its name is put before it."),
    source_subject: str = Text("dog", tooltip="What to look for in the picture, in a word or two."),
    target_subject: str = Text("dog", tooltip="What it is to be in the new picture."),
    repeats: int = Int(
        20, min=1, max=200, tooltip="How often the prompt is said, as far as there is room; with the subject in it, saying it once is weak."
    ),
) -> Conditioning:
    """Encode a prompt about the subject of a picture; several pictures of it count as their mean."""
    if not isinstance(clip, ClipHandle):
        raise BadInput(
            "A subject goes into one text encoder, and this is a pair.", hint="Load that of the same folder.", node=ctx.node, input="clip"
        )
    pool = ctx.services.pool
    vectors = subject_encoder.subject(image, source_subject, pool).mean(0)
    prompt = ", ".join([f"a {target_subject} {text.strip()}"] * repeats)
    return with_subject(clip, vectors, prompt, subject_encoder.begin, pool)
