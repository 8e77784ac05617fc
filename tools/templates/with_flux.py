"""Graphs for Flux, Chroma, Flux 2 and LongCat-Image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tools.templates.parts import Graph, Model, Node, Template, node, picture

CLIP, T5, AE = "clip_l.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors", "ae.safetensors"
DEV, FILL, CANNY = "flux1-dev.safetensors", "flux1-fill-dev.safetensors", "flux1-canny-dev.safetensors"
KONTEXT, SCHNELL = "flux1-kontext-dev.safetensors", "flux1-schnell-fp8.safetensors"
REDUX, SEES, UNION = "flux1-redux-dev.safetensors", "sigclip_vision_patch14_384.safetensors", "FLUX.1-dev-Controlnet-Union.safetensors"
CHROMA, KLEIN, LONGCAT = "Chroma1-HD.safetensors", "flux-2-klein-4b.safetensors", "longcat_image_bf16.safetensors"
QWEN, QWEN_VL, AE2 = "qwen_3_4b.safetensors", "qwen_2.5_vl_7b_fp8_scaled.safetensors", "flux2-vae.safetensors"
TEXTS = (Model(CLIP, "CLIP-L", "text_encoders"), Model(T5, "T5 v1.1 XXL", "text_encoders"))
VAE = Model(AE, "VAE of Flux", "vae")
FOX = "a fox curled up in fallen leaves, morning mist, 35mm photograph"


def net(name: str, kind: str) -> Model:
    return Model(name, kind, "diffusion_models")


def parts(name: str, clip: Node | None = None, vae: str = AE) -> Graph:
    """A net as "m", its text encoders as "c" and its autoencoder as "v"."""
    both = node("DualCLIPLoader", clip_name1=CLIP, clip_name2=T5, type="flux", device="default")
    return {
        "m": node("UNETLoader", unet_name=name, weight_dtype="default"),
        "c": clip or both,
        "v": node("VAELoader", vae_name=vae),
    }


def one(name: str, type: str) -> Node:
    return node("CLIPLoader", clip_name=name, type=type, device="default")


def told(text: str, title: str = "Prompt") -> Node:
    return node("CLIPTextEncode", title, text=text, clip=["c", 0])


def guided(source: Sequence[Any] = ("p", 0), scale: float = 3.5) -> Node:
    return node("FluxGuidance", "How strongly to follow the prompt", conditioning=list(source), guidance=scale)


def prompted(text: str = FOX, scale: float = 3.5) -> Graph:
    """The prompt, with its guidance scale, as "g"; nothing as "n"."""
    return {"p": told(text), "g": guided(scale=scale), "n": node("ConditioningZeroOut", conditioning=["p", 0])}


def empty(type: str = "EmptySD3LatentImage") -> Node:
    return node(type, width=1024, height=1024, batch_size=1)


def sampled(positive: str = "g", negative: str = "n", latent: Sequence[Any] = ("l", 0), model: str = "m", **settings: Any) -> Node:
    usual = {"seed": 1, "steps": 20, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    wires = {"model": [model, 0], "positive": [positive, 0], "negative": [negative, 0], "latent_image": list(latent)}
    return node("KSampler", **usual | settings, **wires)


def ended(graph: Graph, prefix: str, latent: Sequence[Any] = ("k", 0)) -> Graph:
    decoded = node("VAEDecode", samples=list(latent), vae=["v", 0])
    return {**graph, "d": decoded, "s": node("SaveImage", images=["d", 0], filename_prefix=prefix)}


def text_to_image() -> Graph:
    return ended({**parts(DEV), **prompted(), "l": empty(), "k": sampled()}, "flux")


def schnell() -> Graph:
    loaded = {"m": node("CheckpointLoaderSimple", ckpt_name=SCHNELL)}
    prompts = {"p": node("CLIPTextEncode", "Prompt", text=FOX, clip=["m", 1]), "n": node("ConditioningZeroOut", conditioning=["p", 0])}
    graph = {**loaded, **prompts, "l": empty(), "k": sampled("p", steps=4)}
    decoded = node("VAEDecode", samples=["k", 0], vae=["m", 2])
    return {**graph, "d": decoded, "s": node("SaveImage", images=["d", 0], filename_prefix="flux_schnell")}


def filled() -> Graph:
    shown = node(
        "InpaintModelConditioning", positive=["g", 0], negative=["n", 0], vae=["v", 0], pixels=["i", 0], mask=["i", 1], noise_mask=False
    )
    graph = {**parts(FILL), **prompted(scale=30.0), "i": picture("Picture with a mask"), "f": shown}
    return ended({**graph, "k": sampled("f", "f", ["f", 2])}, "flux_fill")


def lined() -> Graph:
    lines = node("Canny", image=["i", 0], low_threshold=0.15, high_threshold=0.3)
    shown = node("InstructPixToPixConditioning", positive=["g", 0], negative=["n", 0], vae=["v", 0], pixels=["e", 0])
    graph = {**parts(CANNY), **prompted(scale=30.0), "i": picture("Picture to follow"), "e": lines, "f": shown}
    return ended({**graph, "k": sampled("f", "f", ["f", 2])}, "flux_canny")


def changed() -> Graph:
    scaled = node("ImageScale", image=["i", 0], upscale_method="lanczos", width=1024, height=1024, crop="center")
    graph = {
        **parts(KONTEXT), "i": picture("Picture to change"), "r": scaled, "e": node("VAEEncode", pixels=["r", 0], vae=["v", 0]),
        "p": told("make it a watercolour painting", "What to change"), "x": node("ReferenceLatent", conditioning=["p", 0], latent=["e", 0]),
        "g": guided(("x", 0), 2.5), "n": node("ConditioningZeroOut", conditioning=["p", 0]),
    }  # fmt: skip
    return ended({**graph, "k": sampled(latent=["e", 0])}, "flux_kontext")


def styled() -> Graph:
    seen = node("CLIPVisionEncode", clip_vision=["y", 0], image=["i", 0], crop="center")
    applied = node(
        "StyleModelApply", conditioning=["g", 0], style_model=["z", 0], clip_vision_output=["o", 0], strength=1.0, strength_type="multiply"
    )
    graph = {
        **parts(DEV), **prompted(), "i": picture("Picture to vary"), "y": node("CLIPVisionLoader", clip_name=SEES), "o": seen,
        "z": node("StyleModelLoader", style_model_name=REDUX), "f": applied, "l": empty(), "k": sampled("f"),
    }  # fmt: skip
    return ended(graph, "flux_redux")


def steered() -> Graph:
    lines = node("Canny", image=["i", 0], low_threshold=0.2, high_threshold=0.3)
    applied = node(
        "ControlNetApplyAdvanced", positive=["g", 0], negative=["n", 0], control_net=["t", 0], image=["e", 0], vae=["v", 0], strength=0.6,
        start_percent=0.0, end_percent=0.8,
    )  # fmt: skip
    graph = {
        **parts(DEV), **prompted(), "i": picture("Picture to follow"), "e": lines, "o": node("ControlNetLoader", control_net_name=UNION),
        "t": node("SetUnionControlNetType", control_net=["o", 0], type="openpose"), "a": applied, "l": empty(),
        "k": sampled("a", "a"),
    }  # fmt: skip
    return ended(graph, "flux_controlnet")


def chroma() -> Graph:
    graph = {
        **parts(CHROMA, one(T5, "chroma")), "p": told(FOX), "n": told("low quality, blurry", "Negative prompt"),
        "h": node("ModelSamplingAuraFlow", model=["m", 0], shift=1.0), "l": empty(), "k": sampled("p", "n", model="h", steps=26, cfg=4.0),
    }  # fmt: skip
    return ended(graph, "chroma")


def klein() -> Graph:
    graph = {
        **parts(KLEIN, one(QWEN, "flux2"), AE2), "p": told(FOX), "n": node("ConditioningZeroOut", conditioning=["p", 0]),
        "l": empty("EmptyFlux2LatentImage"), "x": node("RandomNoise", noise_seed=1), "e": node("KSamplerSelect", sampler_name="euler"),
        "o": node("Flux2Scheduler", steps=4, width=1024, height=1024),
        "g": node("CFGGuider", model=["m", 0], positive=["p", 0], negative=["n", 0], cfg=1.0),
        "k": node(
            "SamplerCustomAdvanced", noise=["x", 0], guider=["g", 0], sampler=["e", 0], sigmas=["o", 0], latent_image=["l", 0]
        ),
    }  # fmt: skip
    return ended(graph, "flux2_klein")


def longcat() -> Graph:
    graph = {
        **parts(LONGCAT, one(QWEN_VL, "longcat_image")), "p": told('a poster that says "Hello, fox!"'), "n": told("", "Negative prompt"),
        "l": empty(), "k": sampled("p", "n", cfg=4.0),
    }  # fmt: skip
    return ended(graph, "longcat")


def _models(name: str, kind: str, *more: Model) -> tuple[Model, ...]:
    return (net(name, kind), *TEXTS, VAE, *more)


TEMPLATES = (
    Template("flux", "Flux", "Paint a picture from words with Flux dev.", _models(DEV, "Flux dev"), text_to_image()),
    Template(
        "flux_schnell", "Flux Schnell", "Paint a picture in four steps; all parts are in one file.",
        (Model(SCHNELL, "Flux schnell with its text encoders and VAE"),), schnell(),
    ),
    Template("flux_fill", "Flux Fill", "Paint the masked part of a picture anew.", _models(FILL, "Flux Fill"), filled()),
    Template("flux_canny", "Flux Canny", "Follow the edges of a picture.", _models(CANNY, "Flux Canny"), lined()),
    Template("flux_kontext", "Flux Kontext", "Say in words how a picture is to change.", _models(KONTEXT, "Flux Kontext"), changed()),
    Template(
        "flux_redux", "Flux Redux", "Vary a picture: Flux is told what SigLIP sees in it.",
        _models(DEV, "Flux dev", Model(SEES, "SigLIP", "clip_vision"), Model(REDUX, "Flux Redux", "style_models")), styled(),
    ),
    Template(
        "flux_controlnet", "ControlNet for Flux", "Steer Flux by a picture with a union ControlNet.",
        _models(DEV, "Flux dev", Model(UNION, "union ControlNet for Flux", "controlnet")), steered(),
    ),
    Template(
        "chroma", "Chroma", "Paint with Chroma, which reads T5 alone and takes a negative prompt.",
        (net(CHROMA, "Chroma"), TEXTS[1], VAE), chroma(),
    ),
    Template(
        "flux2_klein", "Flux 2 klein", "Paint a picture in four steps with the small Flux 2.",
        (net(KLEIN, "Flux 2 klein 4B"), Model(QWEN, "Qwen 3 4B", "text_encoders"), Model(AE2, "VAE of Flux 2", "vae")), klein(),
    ),
    Template(
        "longcat", "LongCat-Image", "Paint pictures with words in them, which stand in quotation marks.",
        (net(LONGCAT, "LongCat-Image"), Model(QWEN_VL, "Qwen2.5-VL 7B", "text_encoders"), VAE), longcat(),
    ),
)  # fmt: skip
