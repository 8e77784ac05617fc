"""Graphs for Qwen Image and its kin."""

from __future__ import annotations

from typing import Any

from tools.templates.parts import Graph, Model, Template, node, picture, sampled

SAYS = "qwen_2.5_vl_7b_fp8_scaled.safetensors"
SEES, SEES_ALPHA, SEES_21 = "qwen_image_vae.safetensors", "qwen_image_layered_vae.safetensors", "qwen_image_2.1_vae_bf16.safetensors"
PAINTS, EDITS, LAYERS = "qwen_image_2512_bf16.safetensors", "qwen_image_edit_2511_bf16.safetensors", "qwen_image_layered_bf16.safetensors"
PAINTS_21, SAYS_21 = "qwen_image_2.1_bf16.safetensors", "qwen3vl_8b_bf16.safetensors"
STEERS, LINES = "Qwen-Image-InstantX-ControlNet-Union.safetensors", "qwen_image_canny_diffsynth_controlnet.safetensors"
SIGN = 'a shop window in the rain at night, a neon sign reads "Open till late", photograph'


def models(net: str, kind: str, vae: str = SEES, text: str = SAYS, *more: Model) -> tuple[Model, ...]:
    says = "Qwen3-VL 8B" if text == SAYS_21 else "Qwen2.5-VL 7B"
    return (Model(net, kind, "diffusion_models"), Model(text, says, "text_encoders"), Model(vae, f"VAE of {kind}", "vae"), *more)


def loaded(net: str, vae: str = SEES, text: str = SAYS, shift: float = 3.1) -> Graph:
    """Model "m" with its shift as "1", text encoder "t", VAE "v"."""
    return {
        "m": node("UNETLoader", unet_name=net, weight_dtype="default"),
        "1": node("ModelSamplingAuraFlow", model=["m", 0], shift=shift),
        "t": node("CLIPLoader", clip_name=text, type="qwen_image", device="default"),
        "v": node("VAELoader", vae_name=vae),
    }


def prompts(text: str, negative: str = "") -> Graph:
    return {
        "2": node("CLIPTextEncode", "Prompt", text=text, clip=["t", 0]),
        "3": node("CLIPTextEncode", "Negative prompt", text=negative, clip=["t", 0]),
    }


def painted(latent: list[Any], **settings: Any) -> Graph:
    """Sampled as "k", decoded as "d", saved."""
    usual = {"steps": 20, "cfg": 2.5, "sampler_name": "euler", "scheduler": "simple"}
    return {
        "k": sampled(latent, **{**usual, **settings}),
        "d": node("VAEDecode", samples=["k", 0], vae=["v", 0]),
        "s": node("SaveImage", images=["d", 0], filename_prefix="qwen_image"),
    }


def empty(side: int = 1328) -> Graph:
    return {"l": node("EmptySD3LatentImage", width=side, height=side, batch_size=1)}


def text_to_image() -> Graph:
    return {**loaded(PAINTS), **prompts(SIGN), **empty(), **painted(["l", 0])}


def edited() -> Graph:
    def said(title: str, prompt: str) -> dict[str, Any]:
        return node("TextEncodeQwenImageEditPlus", title, clip=["t", 0], prompt=prompt, vae=["v", 0], image1=["i", 0])

    def placed(source: str) -> dict[str, Any]:
        return node("FluxKontextMultiReferenceLatentMethod", conditioning=[source, 0], reference_latents_method="index_timestep_zero")

    return {
        **loaded(EDITS),
        "i": picture("The picture to change"),
        "p": said("What to change", "make it winter, with snow on the ground"),
        "n": said("Negative prompt", ""),
        "2": placed("p"),
        "3": placed("n"),
        **empty(1024),
        **painted(["l", 0], cfg=4.0),
    }


def steered() -> Graph:
    control = node(
        "ControlNetApplyAdvanced", positive=["p", 0], negative=["n", 0], control_net=["c", 0], image=["e", 0], vae=["v", 0], strength=1.0,
        start_percent=0.0, end_percent=1.0,
    )  # fmt: skip
    texts = prompts(SIGN)
    return {
        **loaded(PAINTS),
        "p": texts["2"],
        "n": texts["3"],
        "i": picture(),
        "e": node("Canny", image=["i", 0], low_threshold=0.3, high_threshold=0.6),
        "c": node("ControlNetLoader", control_net_name=STEERS),
        "a": control,
        **empty(),
        **painted(["l", 0], positive=["a", 0], negative=["a", 1]),
    }


def patched() -> Graph:
    return {
        **loaded(PAINTS),
        "i": picture(),
        "e": node("Canny", image=["i", 0], low_threshold=0.3, high_threshold=0.6),
        "c": node("ModelPatchLoader", name=LINES),
        "a": node("QwenImageDiffsynthControlnet", model=["1", 0], model_patch=["c", 0], vae=["v", 0], image=["e", 0], strength=1.0),
        **prompts(SIGN),
        **empty(),
        **painted(["l", 0], model=["a", 0]),
    }


def layered() -> Graph:
    texts = prompts("")

    def shown(source: str) -> dict[str, Any]:
        return node("ReferenceLatent", conditioning=[source, 0], latent=["e", 0])

    graph = {
        **loaded(LAYERS, SEES_ALPHA, shift=1.0),
        "i": picture("The picture to take apart"),
        "z": node("ImageScaleToMaxDimension", image=["i", 0], upscale_method="lanczos", largest_size=640),
        "e": node("VAEEncode", pixels=["z", 0], vae=["v", 0]),
        "p": texts["2"],
        "n": texts["3"],
        "2": shown("p"),
        "3": shown("n"),
        "g": node("GetImageSize", image=["z", 0]),
        "l": node("EmptyQwenImageLayeredLatentImage", width=["g", 0], height=["g", 1], layers=3, batch_size=1),
        **painted(["l", 0]),
        "c": node("LatentCut", samples=["k", 0], dim="t", index=1, amount=16384),
        "b": node("LatentCutToBatch", samples=["c", 0], dim="t", slice_size=1),
    }
    graph["d"]["inputs"]["samples"] = ["b", 0]
    return graph


def newer() -> Graph:
    graph = loaded(PAINTS_21, SEES_21, SAYS_21)
    graph["1"] = node("QwenImage21Cache", model=["m", 0], device="auto", dtype="default")
    told = node("TextEncodeQwenImage21", clip=["t", 0], prompt=SIGN, negative_prompt="", resolution=1024, vae=["v", 0])
    latent = node("EmptyLatentImage", width=1024, height=1024, batch_size=1)
    return {**graph, "p": told, "l": latent, **painted(["l", 0], positive=["p", 0], negative=["p", 1], steps=25, cfg=1.0)}


KIND = "Qwen Image"
TEMPLATES = (
    Template(
        "qwen_image", "Qwen Image", "Text to image, with words in the picture as they are written.", models(PAINTS, KIND), text_to_image()
    ),
    Template(
        "qwen_image_edit", "Change a picture by words", "Qwen Image Edit sees up to three pictures and does what it is told.",
        models(EDITS, f"{KIND} Edit"), edited(),
    ),
    Template(
        "qwen_image_controlnet", "Qwen Image along lines", "A union ControlNet by InstantX lets Qwen Image follow lines, depth or a pose.",
        models(PAINTS, KIND, SEES, SAYS, Model(STEERS, "ControlNet for Qwen Image", "controlnet")), steered(),
    ),
    Template(
        "qwen_image_patch", "Qwen Image along lines, patched", "A model patch by DiffSynth Studio, made for one kind of control picture.",
        models(PAINTS, KIND, SEES, SAYS, Model(LINES, "model patch for Qwen Image", "model_patches")), patched(),
    ),
    Template(
        "qwen_image_layered", "A picture in layers", "Qwen Image Layered takes a picture apart into layers with transparency.",
        models(LAYERS, f"{KIND} Layered", SEES_ALPHA), layered(),
    ),
    Template(
        "qwen_image_2_1", "Qwen Image 2.1", "Text to image in one stream; what it makes of the prompt is kept from step to step.",
        models(PAINTS_21, f"{KIND} 2.1", SEES_21, SAYS_21), newer(),
    ),
)  # fmt: skip
