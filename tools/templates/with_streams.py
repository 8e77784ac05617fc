"""Graphs for transformers that read language models: Z-Image, HiDream, Krea 2, Ideogram 4, Fibo 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tools.templates.parts import Graph, Model, Node, Template, node, picture

SEA = "a lighthouse in a storm, oil painting"
FLUX_VAE, FLUX2_VAE, QWEN_VAE = "ae.safetensors", "flux2-vae.safetensors", "qwen_image_vae.safetensors"
QWEN, SEEING, SEEING_MORE = "qwen_3_4b.safetensors", "qwen3vl_4b_bf16.safetensors", "qwen3vl_8b_fp8_scaled.safetensors"
Z_IMAGE, Z_CONTROL = "z_image_turbo_bf16.safetensors", "Z-Image-Turbo-Fun-Controlnet-Union.safetensors"
HIDREAM, HIDREAM_EDIT = "hidream_i1_dev_bf16.safetensors", "hidream_e1_full_bf16.safetensors"
FOUR = (
    "clip_l_hidream.safetensors", "clip_g_hidream.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors",
    "llama_3.1_8b_instruct_fp8_scaled.safetensors",
)  # fmt: skip
KREA, FIBO = "krea2_turbo_bf16.safetensors", "fibo2_dev_bf16.safetensors"
IDEOGRAM, IDEOGRAM_BLIND = "ideogram4_fp8_scaled.safetensors", "ideogram4_unconditional_fp8_scaled.safetensors"


def parts(net: str, text: str, type: str, vae: str) -> Graph:
    """A net as "m", its text encoder as "c" and its autoencoder as "v"."""
    return {
        "m": node("UNETLoader", unet_name=net, weight_dtype="default"),
        "c": node("CLIPLoader", clip_name=text, type=type, device="default"),
        "v": node("VAELoader", vae_name=vae),
    }


def told(text: str = SEA, title: str = "Prompt") -> Node:
    return node("CLIPTextEncode", title, text=text, clip=["c", 0])


def empty(type: str = "EmptySD3LatentImage") -> Node:
    return node(type, width=1024, height=1024, batch_size=1)


def sampled(model: Sequence[Any], positive: Sequence[Any], negative: Sequence[Any], latent: Sequence[Any], **settings: Any) -> Node:
    usual = {"seed": 1, "steps": 8, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    wires = {"model": list(model), "positive": list(positive), "negative": list(negative), "latent_image": list(latent)}
    return node("KSampler", **usual | settings, **wires)


def ended(graph: Graph, prefix: str, latent: Sequence[Any] = ("k", 0)) -> Graph:
    decoded = node("VAEDecode", samples=list(latent), vae=["v", 0])
    return {**graph, "d": decoded, "s": node("SaveImage", images=["d", 0], filename_prefix=prefix)}


def z_image() -> Graph:
    return {
        **parts(Z_IMAGE, QWEN, "lumina2", FLUX_VAE),
        "p": told(),
        "n": node("ConditioningZeroOut", conditioning=["p", 0]),
        "l": empty(),
        "h": node("ModelSamplingAuraFlow", model=["m", 0], shift=3.0),
    }


def steered() -> Graph:
    return {
        **z_image(),
        "i": picture("What to follow"),
        "e": node("Canny", image=["i", 0], low_threshold=0.1, high_threshold=0.32),
        "a": node("ModelPatchLoader", name=Z_CONTROL),
        "b": node("QwenImageDiffsynthControlnet", model=["h", 0], model_patch=["a", 0], vae=["v", 0], image=["e", 0], strength=1.0),
        "k": sampled(["b", 0], ["p", 0], ["n", 0], ["l", 0], sampler_name="res_multistep"),
    }


def four(net: str, prompt: str, negative: str) -> Graph:
    return {
        "m": node("UNETLoader", unet_name=net, weight_dtype="default"),
        "c": node("QuadrupleCLIPLoader", **{f"clip_name{i}": name for i, name in enumerate(FOUR, 1)}),
        "v": node("VAELoader", vae_name=FLUX_VAE),
        "p": told(prompt),
        "n": told(negative, "Negative prompt"),
    }


def hidream() -> Graph:
    return {
        **four(HIDREAM, SEA, "bad ugly jpeg artifacts"),
        "l": empty(),
        "h": node("ModelSamplingSD3", model=["m", 0], shift=6.0),
        "k": sampled(["h", 0], ["p", 0], ["n", 0], ["l", 0], steps=28, sampler_name="lcm", scheduler="normal"),
    }


def hidream_edit() -> Graph:
    return {
        **four(HIDREAM_EDIT, "make it winter, with snow on the ground", "low quality, blurry, distorted"),
        "i": picture("What to edit"),
        "r": node("ImageScale", image=["i", 0], upscale_method="bilinear", width=768, height=768, crop="center"),
        "b": node("InstructPixToPixConditioning", positive=["p", 0], negative=["n", 0], vae=["v", 0], pixels=["r", 0]),
        "g": node(
            "DualCFGGuider", model=["m", 0], cond1=["b", 0], cond2=["b", 1], negative=["n", 0], cfg_conds=5.0, cfg_cond2_negative=2.0,
            style="regular",
        ),
        **custom("BasicScheduler", model=["m", 0], scheduler="normal", steps=28, denoise=1.0),
        "k": advanced(["b", 2]),
    }  # fmt: skip


def custom(schedule: str, /, **inputs: Any) -> Graph:
    """Noise as "o", a sampler as "q", a schedule as "t"."""
    return {
        "o": node("RandomNoise", noise_seed=1),
        "q": node("KSamplerSelect", sampler_name="euler"),
        "t": node(schedule, **inputs),
    }


def advanced(latent: Sequence[Any]) -> Node:
    wires = {"noise": ["o", 0], "guider": ["g", 0], "sampler": ["q", 0], "sigmas": ["t", 0]}
    return node("SamplerCustomAdvanced", **wires, latent_image=list(latent))


def krea() -> Graph:
    return {
        **parts(KREA, SEEING, "krea2", QWEN_VAE),
        "p": told(),
        "n": node("ConditioningZeroOut", conditioning=["p", 0]),
        "l": empty("EmptyLatentImage"),
        "k": sampled(["m", 0], ["p", 0], ["n", 0], ["l", 0]),
    }


def ideogram() -> Graph:
    return {
        **parts(IDEOGRAM, SEEING_MORE, "ideogram4", FLUX2_VAE),
        "u": node("UNETLoader", "The net that reads nothing", unet_name=IDEOGRAM_BLIND, weight_dtype="default"),
        "p": told("a poster that says SALT, bold letters over waves"),
        "n": node("ConditioningZeroOut", conditioning=["p", 0]),
        "g": node("DualModelGuider", model=["m", 0], positive=["p", 0], cfg=7.0, model_negative=["u", 0], negative=["n", 0]),
        "l": empty("EmptyFlux2LatentImage"),
        **custom("Ideogram4Scheduler", steps=20, width=1024, height=1024, mu=0.0, std=1.75),
        "k": advanced(["l", 0]),
    }


def fibo() -> Graph:
    return {
        **parts(FIBO, SEEING, "fibo2", FLUX2_VAE),
        "i": picture("What to edit"),
        "p": node(
            "TextEncodeFibo2", clip=["c", 0], vae=["v", 0], prompt="make it winter, with snow on the ground", negative_prompt="{}", width=0,
            height=0, batch_size=1, **{"images.image_1": ["i", 0]},
        ),
        "k": sampled(["m", 0], ["p", 0], ["p", 1], ["p", 2], steps=30, cfg=5.0),
    }  # fmt: skip


def needs(net: str, title: str, vae: str, *texts: str) -> tuple[Model, ...]:
    return (
        Model(net, title, "diffusion_models"),
        *(Model(text, "text encoder", "text_encoders") for text in texts),
        Model(vae, "VAE", "vae"),
    )


Z_NEEDS = needs(Z_IMAGE, "Z-Image Turbo", FLUX_VAE, QWEN)
TEMPLATES = (
    Template(
        "z_image_turbo", "Z-Image Turbo", "Text to image with Z-Image Turbo, in eight steps.", Z_NEEDS,
        ended({**z_image(), "k": sampled(["h", 0], ["p", 0], ["n", 0], ["l", 0], sampler_name="res_multistep")}, "z_image"),
    ),
    Template(
        "z_image_control", "Z-Image after a picture's lines", "Z-Image Turbo steered by the edges of a picture, with its union ControlNet.",
        (*Z_NEEDS, Model(Z_CONTROL, "union ControlNet for Z-Image", "model_patches")), ended(steered(), "z_image_control"),
    ),
    Template(
        "hidream", "HiDream I1", "Text to image with HiDream I1 Dev, which reads four text encoders.",
        needs(HIDREAM, "HiDream I1 Dev", FLUX_VAE, *FOUR), ended(hidream(), "hidream"),
    ),
    Template(
        "hidream_edit", "Edit a picture with HiDream E1", "Say what to change in a picture; two scales hold to it and to the prompt.",
        needs(HIDREAM_EDIT, "HiDream E1 Full", FLUX_VAE, *FOUR), ended(hidream_edit(), "hidream_edit"),
    ),
    Template(
        "krea2_turbo", "Krea 2 Turbo", "Text to image with Krea 2 Turbo, in eight steps.",
        needs(KREA, "Krea 2 Turbo", QWEN_VAE, SEEING), ended(krea(), "krea2"),
    ),
    Template(
        "ideogram4", "Ideogram 4", "Text to image with Ideogram 4, guided away from what a second net makes that reads nothing.",
        (Model(IDEOGRAM_BLIND, "Ideogram 4, unconditional", "diffusion_models"), *needs(IDEOGRAM, "Ideogram 4", FLUX2_VAE, SEEING_MORE)),
        ended(ideogram(), "ideogram4"),
    ),
    Template(
        "fibo2_edit", "Edit a picture with Fibo 2", "Say what to change in a picture; without one, a caption in JSON makes a new picture.",
        needs(FIBO, "Fibo 2 Dev", FLUX2_VAE, SEEING), ended(fibo(), "fibo2"),
    ),
)  # fmt: skip
