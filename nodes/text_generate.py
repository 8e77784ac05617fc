"""Texts that language models write: answers, better prompts, descriptions of pictures."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.lm.generate import Choosing, generate, parted, question
from backend.encoders.lm.handle import LmHandle
from backend.engine.context import Context
from backend.graph.declare import Bool, Combo, Int, Text, Wired, node
from nodes.audio import Sound
from nodes.resize_any import ways
from nodes.types import Clip, Image, TextOut

MOST_FRAMES = 16
CHOOSING: dict[str, Any] = {
    "temperature": ["FLOAT", {"default": 0.7, "min": 0.01, "max": 2.0, "step": 0.000001}],
    "top_k": ["INT", {"default": 64, "min": 0, "max": 1000}],
    "top_p": ["FLOAT", {"default": 0.95, "min": 0.0, "max": 1.0, "step": 0.01}],
    "min_p": ["FLOAT", {"default": 0.05, "min": 0.0, "max": 1.0, "step": 0.01}],
    "repetition_penalty": ["FLOAT", {"default": 1.05, "min": 0.0, "max": 5.0, "step": 0.01}],
    "seed": ["INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF}],
    "presence_penalty": ["FLOAT", {"default": 0.0, "min": 0.0, "max": 5.0, "step": 0.01}],
}


class Written(NamedTuple):
    generated_text: TextOut
    thinking: TextOut


@node("TextGenerate", title="Generate Text", category="textgen", module="comfy_extras.nodes_textgen", form="v3")
def text_generate(
    ctx: Context,
    *,
    clip: Clip = Wired(tooltip="The language model that writes: Qwen, Llama, Gemma or Mistral, from Load CLIP."),
    image: Image | None = Wired(optional=True, tooltip="Pictures that the prompt speaks of, for models that see."),
    video: Image | None = Wired(
        optional=True, tooltip="Frames of a film, for models that see; some of many are shown, one after the other."
    ),
    audio: Sound | None = Wired(optional=True, tooltip="No model that is here listens."),
    system_prompt: str = Text("", optional=True, forceInput=True, tooltip="What the model is told about its task before the prompt."),
    prompt: str = Text("", multiline=True, dynamicPrompts=True),
    max_length: int = Int(256, min=1, max=32768, tooltip="Tokens written at most."),
    sampling_mode: str = ways({"on": CHOOSING, "off": {}}, "on"),
    thinking: bool = Bool(False, optional=True, tooltip="Let the model think before it answers, if it can."),
    use_default_template: bool = Bool(True, optional=True, advanced=True, tooltip="Put the prompt as the model's chats do; off: as it is."),
    mtp: str = Combo(
        ["auto", "off"], default="auto", optional=True, advanced=True, tooltip="A faster way to the same text; not used here."
    ),
    **options: Any,
) -> Written:
    """Let a language model write: an answer, a longer prompt, a description of a picture."""
    shown = [*_pictures(image), *_frames(video)]
    how = _choosing(ctx, sampling_mode, options)
    return _written(ctx, _writer(ctx, clip), shown, audio, system_prompt, prompt, max_length, how, thinking, use_default_template)


FILM = (
    "You write prompts for a model that makes films with sound. Turn what the user asks for into one flowing paragraph of at most two"
    " hundred words, in the present tense: what is seen first and how it changes, who does what and with which gestures, what is said"
    " (in quotation marks, with the voice) and heard, the light and the colours, and how the camera moves. Add what is needed to make it"
    " vivid, change nothing that was asked for, and answer with the paragraph alone."
)
FILM_FROM = " The film begins with the picture that is shown: keep to what is in it, and say how it goes on."


@node("TextGenerateLTX2Prompt", title="Generate LTX2 Prompt", category="textgen", module="comfy_extras.nodes_textgen", form="v3",
      outputs=("generated_text",))  # fmt: skip
def text_generate_ltx2_prompt(
    ctx: Context,
    *,
    clip: Clip = Wired(tooltip="The language model that writes."),
    image: Image | None = Wired(optional=True, tooltip="The picture that the film begins with, for models that see."),
    video: Image | None = Wired(optional=True, tooltip="Frames of a film to go on from, for models that see."),
    audio: Sound | None = Wired(optional=True, tooltip="No model that is here listens."),
    prompt: str = Text("", multiline=True, dynamicPrompts=True),
    max_length: int = Int(256, min=1, max=32768, tooltip="Tokens written at most."),
    sampling_mode: str = ways({"on": CHOOSING, "off": {}}, "on"),
    thinking: bool = Bool(False, optional=True, tooltip="Let the model think before it writes, if it can."),
    use_default_template: bool = Bool(True, optional=True, advanced=True, tooltip="Put the prompt as the model's chats do; off: as it is."),
    **options: Any,
) -> TextOut:
    """Let a language model write a prompt for LTX-2 out of a few words: what is seen and heard, and how the camera moves."""
    shown = [*_pictures(image), *_frames(video)]
    system = FILM + (FILM_FROM if shown else "")
    how = _choosing(ctx, sampling_mode, options)
    model = _writer(ctx, clip)
    told = system if use_default_template else ""
    return _written(ctx, model, shown, audio, told, prompt, max_length, how, thinking, use_default_template).generated_text


def _written(
    ctx: Context, model: LmHandle, shown: list[Tensor], audio: Any, system: str, prompt: str, most: int, how: Choosing, thinking: bool,
    templated: bool,
) -> Written:  # fmt: skip
    """What the model makes of it. Raises BadInput for inputs that it cannot take."""
    if audio is not None:
        raise BadInput(
            f"{model.title} cannot listen.", hint="Take the sound off this node; use a picture or words.", node=ctx.node, input="audio"
        )
    if templated:
        entries = question(model, prompt, system, shown, thinking)
    else:
        entries = model.entries(system + model.make.image * len(shown) + prompt, shown)
    if not entries:
        raise BadInput("There is nothing to go on: the prompt is empty.", hint="Write a prompt.", node=ctx.node, input="prompt")
    return Written(*parted(model, generate(model, entries, most, how, ctx.services.pool, lambda count: ctx.progress(count, most))))


def _writer(ctx: Context, clip: Any) -> LmHandle:
    """The language model on a CLIP wire."""
    if clip is None:
        raise BadInput("There is no language model on this wire.", hint="Load one with Load CLIP.", node=ctx.node, input="clip")
    parts = getattr(clip, "parts", (clip,))
    model = next((part for part in parts if isinstance(part, LmHandle)), None)
    if model is None:
        titles = " and ".join(getattr(part, "title", "This text encoder") for part in parts)
        raise BadInput(
            f"{titles} read{'s' if len(parts) == 1 else ''} text but cannot write it.",
            hint="Load a language model with Load CLIP: Qwen, Llama, Gemma or Mistral.",
            node=ctx.node,
            input="clip",
        )
    return model


def _pictures(image: Tensor | None) -> list[Tensor]:
    return [] if image is None else list(image)


def _frames(video: Tensor | None) -> list[Tensor]:
    """At most so many frames, evenly spread."""
    if video is None:
        return []
    count = min(len(video), MOST_FRAMES)
    return [video[i] for i in torch.linspace(0, len(video) - 1, count).round().long().tolist()]


def _choosing(ctx: Context, mode: str, options: dict[str, Any]) -> Choosing:
    """`sampling_mode` and what comes with it."""
    if mode not in ("on", "off"):
        raise BadInput(f"`sampling_mode` is {mode!r:.60}.", hint="It is on or off.", node=ctx.node, input="sampling_mode")
    if mode == "off":
        return Choosing()
    given: dict[str, float] = {}
    for name, (_, facts) in CHOOSING.items():
        value = options.get(f"sampling_mode.{name}", options.get(name, facts["default"]))
        if isinstance(value, bool) or not isinstance(value, int | float) or not facts["min"] <= value <= facts.get("max", value):
            raise BadInput(
                f"`{name}` is {value!r:.60}.",
                hint=f"It is a number from {facts['min']} to {facts['max']}.",
                node=ctx.node,
                input=f"sampling_mode.{name}",
            )
        given[name] = value
    return Choosing(
        temperature=given["temperature"],
        top_k=int(given["top_k"]),
        top_p=given["top_p"],
        min_p=given["min_p"],
        repetition=given["repetition_penalty"] or 1.0,
        presence=given["presence_penalty"],
        seed=int(given["seed"]),
    )
