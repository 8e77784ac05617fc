"""Graphs for models that T5 tells what to paint: Stable Diffusion 3 and 3.5, AuraFlow, PixArt."""

from __future__ import annotations

from typing import Any

from tools.templates.parts import Graph, Model, Node, Template, ended, loaded, node, picture, sampled

SHIP = "a paper ship on a puddle, reflections of a city, morning"
BAD = "blurry, low quality"
SD35, SD3 = "sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors", "sd3_medium_incl_clips_t5xxlfp8.safetensors"
CANNY, HOLES = "sd3_controlnet_canny.safetensors", "sd3_controlnet_inpainting.safetensors"
AURA, SIGMA, ALPHA = "aura_flow_0.3.safetensors", "PixArt-Sigma-XL-2-1024-MS.safetensors", "PixArt-XL-2-1024-MS.safetensors"
T5, XL_VAE, SD_VAE = "t5xxl_fp16.safetensors", "sdxl_vae.safetensors", "vae-ft-mse-840000-ema-pruned.safetensors"
FLOW: dict[str, Any] = {"cfg": 4.5, "sampler_name": "euler", "scheduler": "sgm_uniform", "steps": 28}


def empty() -> Node:
    return node("EmptySD3LatentImage", width=1024, height=1024, batch_size=1)


def sd3(file: str = SD35) -> Graph:
    return loaded(file, SHIP, BAD)


def text_to_image() -> Graph:
    return ended({**sd3(), "l": empty(), "k": sampled(["l", 0], **FLOW)}, "sd3")


def guided() -> Graph:
    """A prompt for each encoder, and guidance away from a net without some of its layers."""
    told = node("CLIPTextEncodeSD3", "Prompt", clip=["1", 1], clip_l="paper ship, puddle", clip_g="a paper ship on a puddle", t5xxl=SHIP,
                empty_padding="none")  # fmt: skip
    skip = node("SkipLayerGuidanceSD3", model=["1", 0], layers="7, 8, 9", scale=3.0, start_percent=0.01, end_percent=0.15)
    return ended({**sd3(), "2": told, "g": skip, "l": empty(), "k": sampled(["l", 0], model=["g", 0], **FLOW)}, "sd3_guided")


def image_to_image() -> Graph:
    seen = node("VAEEncode", pixels=["i", 0], vae=["1", 2])
    return ended({**sd3(), "i": picture(), "l": seen, "k": sampled(["l", 0], denoise=0.6, **FLOW)}, "sd3_image_to_image")


def inpainting() -> Graph:
    seen = node("VAEEncode", pixels=["i", 0], vae=["1", 2])
    held = node("SetLatentNoiseMask", samples=["e", 0], mask=["i", 1])
    graph = {**sd3(), "i": picture("Picture with a mask"), "e": seen, "l": held, "k": sampled(["l", 0], denoise=0.8, **FLOW)}
    return ended(graph, "sd3_inpainting")


def controlled() -> Graph:
    edges = node("Canny", image=["i", 0], low_threshold=0.4, high_threshold=0.8)
    steered = node("ControlNetApplySD3", positive=["2", 0], negative=["3", 0], control_net=["n", 0], vae=["1", 2], image=["e", 0],
                   strength=0.7, start_percent=0.0, end_percent=1.0)  # fmt: skip
    graph = {**sd3(SD3), "i": picture(), "e": edges, "n": node("ControlNetLoader", control_net_name=CANNY), "c": steered, "l": empty()}
    return ended({**graph, "k": sampled(["l", 0], ["c", 0], ["c", 1], **FLOW)}, "sd3_controlnet")


def filled() -> Graph:
    steered = node("ControlNetInpaintingAliMamaApply", positive=["2", 0], negative=["3", 0], control_net=["n", 0], vae=["1", 2],
                   image=["i", 0], mask=["i", 1], strength=0.95, start_percent=0.0, end_percent=1.0)  # fmt: skip
    graph = {**sd3(SD3), "i": picture("Picture with a mask"), "n": node("ControlNetLoader", control_net_name=HOLES), "c": steered}
    return ended({**graph, "l": empty(), "k": sampled(["l", 0], ["c", 0], ["c", 1], **FLOW)}, "sd3_controlnet_inpainting")


def aura() -> Graph:
    settings: dict[str, Any] = {"cfg": 3.5, "sampler_name": "uni_pc", "scheduler": "normal", "steps": 25}
    return ended({**loaded(AURA, SHIP, BAD), "l": node("EmptyLatentImage", width=1024, height=1024, batch_size=1),
                  "k": sampled(["l", 0], **settings)}, "auraflow")  # fmt: skip


def pixart(file: str, vae: str, prompt: Node, prefix: str) -> Graph:
    settings: dict[str, Any] = {"cfg": 4.5, "sampler_name": "dpmpp_2m", "scheduler": "normal", "steps": 20, "model": ["m", 0]}
    return {
        "m": node("UNETLoader", unet_name=file, weight_dtype="default"),
        "c": node("CLIPLoader", clip_name=T5, type="pixart", device="default"),
        "v": node("VAELoader", vae_name=vae),
        "2": prompt,
        "3": node("CLIPTextEncode", "Negative prompt", text=BAD, clip=["c", 0]),
        "l": node("EmptyLatentImage", width=1024, height=1024, batch_size=1),
        "k": sampled(["l", 0], **settings),
        "d": node("VAEDecode", samples=["k", 0], vae=["v", 0]),
        "s": node("SaveImage", images=["d", 0], filename_prefix=prefix),
    }


def sigma() -> Graph:
    return pixart(SIGMA, XL_VAE, node("CLIPTextEncode", "Prompt", text=SHIP, clip=["c", 0]), "pixart_sigma")


def alpha() -> Graph:
    told = node("CLIPTextEncodePixArtAlpha", "Prompt", width=1024, height=1024, text=SHIP, clip=["c", 0])
    return pixart(ALPHA, SD_VAE, told, "pixart_alpha")


SD35_MODEL = Model(SD35, "Stable Diffusion 3.5 medium with its text encoders")
SD3_MODEL = Model(SD3, "Stable Diffusion 3 medium with its text encoders")
T5_MODEL = Model(T5, "T5 v1.1 XXL", "text_encoders")
TEMPLATES = (
    Template(
        "stable_diffusion_3", "Stable Diffusion 3.5", "Text to image; three text encoders read the prompt.", (SD35_MODEL,), text_to_image(),
    ),
    Template(
        "stable_diffusion_3_guided", "Stable Diffusion 3.5, skipped layers",
        "A prompt for each text encoder, and guidance away from a net without some of its layers.", (SD35_MODEL,), guided(),
    ),
    Template(
        "stable_diffusion_3_image_to_image", "Stable Diffusion 3.5, image to image", "Paint a picture over again.", (SD35_MODEL,),
        image_to_image(),
    ),
    Template(
        "stable_diffusion_3_inpainting", "Stable Diffusion 3.5, inpainting", "Paint what a mask covers.", (SD35_MODEL,), inpainting(),
    ),
    Template(
        "stable_diffusion_3_controlnet", "Stable Diffusion 3, ControlNet", "Follow the edges of a picture.",
        (SD3_MODEL, Model(CANNY, "ControlNet for Stable Diffusion 3, edges", "controlnet")), controlled(),
    ),
    Template(
        "stable_diffusion_3_controlnet_inpainting", "Stable Diffusion 3, ControlNet for inpainting", "Fill the hole in a picture.",
        (SD3_MODEL, Model(HOLES, "ControlNet for Stable Diffusion 3, inpainting", "controlnet")), filled(),
    ),
    Template("auraflow", "AuraFlow", "Text to image with AuraFlow.", (Model(AURA, "AuraFlow 0.3"),), aura()),
    Template(
        "pixart_sigma", "PixArt Sigma", "Text to image, told by T5 alone.",
        (Model(SIGMA, "PixArt Sigma", "diffusion_models"), T5_MODEL, Model(XL_VAE, "VAE of SDXL", "vae")), sigma(),
    ),
    Template(
        "pixart_alpha", "PixArt Alpha", "Text to image, told by T5 and the size of the picture.",
        (Model(ALPHA, "PixArt Alpha", "diffusion_models"), T5_MODEL, Model(SD_VAE, "VAE of Stable Diffusion", "vae")), alpha(),
    ),
)  # fmt: skip
