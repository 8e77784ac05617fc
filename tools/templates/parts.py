"""The vocabulary in which ready-made graphs are put down: nodes, and stretches that many graphs share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PICTURE = "example.png"
Node = dict[str, Any]
Graph = dict[str, Node]


@dataclass(frozen=True)
class Model:
    """A file that a graph needs: its usual name, what it is, and the folder below models/ it goes into."""

    name: str
    kind: str
    folder: str = "checkpoints"


@dataclass(frozen=True)
class Template:
    """A graph to begin with, in the API form: what the gallery says of it, and the files it needs."""

    name: str
    title: str
    description: str
    models: tuple[Model, ...]
    graph: Graph


CAT = "a photograph of a cat in a garden, morning light"
SD1, XL = "v1-5-pruned-emaonly.safetensors", "sd_xl_base_1.0.safetensors"
SD1_MODEL, XL_MODEL = Model(SD1, "Stable Diffusion 1.5"), Model(XL, "SDXL base")


def node(type: str, title: str = "", /, **inputs: Any) -> Node:
    made: Node = {"class_type": type, "inputs": inputs}
    return {**made, "_meta": {"title": title}} if title else made


def loaded(file: str, prompt: str, negative: str = "") -> Graph:
    """A checkpoint as "1" and its two prompts as "2" and "3"."""
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=file),
        "2": node("CLIPTextEncode", "Prompt", text=prompt, clip=["1", 1]),
        "3": node("CLIPTextEncode", "Negative prompt", text=negative, clip=["1", 1]),
    }


def empty(side: int, width: int | None = None) -> Node:
    return node("EmptyLatentImage", width=width or side, height=side, batch_size=1)


def picture(title: str = "") -> Node:
    return node("LoadImage", title, image=PICTURE)


def sampled(latent: Sequence[Any], positive: Sequence[Any] = ("2", 0), negative: Sequence[Any] = ("3", 0), **settings: Any) -> Node:
    usual = {"seed": 1, "steps": 25, "cfg": 7.0, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0, "model": ["1", 0]}
    return node("KSampler", **{**usual, "positive": list(positive), "negative": list(negative), "latent_image": list(latent), **settings})


def saved(latent: Sequence[Any], prefix: str) -> Graph:
    """Decoded as "d" and saved as "s"."""
    return {"d": node("VAEDecode", samples=list(latent), vae=["1", 2]), "s": node("SaveImage", images=["d", 0], filename_prefix=prefix)}


def ended(graph: Graph, prefix: str, latent: Sequence[Any] = ("k", 0)) -> Graph:
    return {**graph, **saved(latent, prefix)}


def text_to_image(file: str, side: int, prompt: str, negative: str = "", **settings: Any) -> Graph:
    return ended({**loaded(file, prompt, negative), "l": empty(side), "k": sampled(["l", 0], **settings)}, "text_to_image")


def inpainting(file: str, prompt: str, **settings: Any) -> Graph:
    shown = node("InpaintModelConditioning", positive=["2", 0], negative=["3", 0], vae=["1", 2], pixels=["i", 0], mask=["i", 1],
                 noise_mask=True)  # fmt: skip
    return ended(
        {**loaded(file, prompt), "i": picture("Picture with a mask"), "c": shown, "k": sampled(["c", 2], ["c", 0], ["c", 1], **settings)},
        "inpainting",
    )
