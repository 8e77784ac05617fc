"""Graphs for Cosmos Predict 2 and Anima, which grew from it."""

from __future__ import annotations

from tools.templates.parts import Graph, Template, node, picture
from tools.templates.parts import Model as File
from tools.templates.with_geometry import GEOMETRY, MEASURER
from tools.templates.with_streams import QWEN_VAE, empty, ended, needs, parts, sampled, told

ANIMA, ANIMA_TEXT, ANIMA_DEPTH = "anima-base-v1.0.safetensors", "qwen_3_06b_base.safetensors", "anima-lllite-depth-1.safetensors"
COSMOS, COSMOS_TEXT, WAN_VAE = "cosmos_predict2_2B_t2i.safetensors", "oldt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan_2.1_vae.safetensors"
GIRL = "masterpiece, best quality, score_7, a girl reads on a sofa among house plants, sunlight through a large window, anime illustration"
WORSE = "worst quality, low quality, score_1, score_2, score_3, blurry, jpeg artifacts, sepia"
HARBOUR = "a photograph of a harbour at dawn, fishing boats, mist over still water, gulls on a mooring post"


def anima(sampler: str) -> Graph:
    return {
        **parts(ANIMA, ANIMA_TEXT, "stable_diffusion", QWEN_VAE),
        "p": told(GIRL),
        "n": told(WORSE, "Negative prompt"),
        "l": empty("EmptyLatentImage"),
        "k": sampled(["m", 0], ["p", 0], ["n", 0], ["l", 0], steps=30, cfg=4.0, sampler_name=sampler),
    }


def anima_after_depth() -> Graph:
    graph = {
        **anima("euler"),
        "i": picture("What to follow"),
        "g": node("LoadDA3Model", model_name=MEASURER, weight_dtype="default"),
        "e": node("DA3Inference", da3_model=["g", 0], image=["i", 0], resolution=504, resize_method="upper_bound_resize", mode="mono"),
        "r": node(
            "DA3Render", da3_geometry=["e", 0], output="depth", **{"output.normalization": "v2_style", "output.apply_sky_clip": False}
        ),
        "a": node("ModelPatchLoader", name=ANIMA_DEPTH),
        "b": node(
            "AnimaLLLiteApply", model=["m", 0], model_patch=["a", 0], image=["r", 0], strength=1.0, start_percent=0.0, end_percent=1.0
        ),
    }  # fmt: skip
    graph["k"]["inputs"]["model"] = ["b", 0]
    return graph


def cosmos() -> Graph:
    return {
        **parts(COSMOS, COSMOS_TEXT, "cosmos", WAN_VAE),
        "p": told(HARBOUR),
        "n": told("blurry, overexposed, distorted, artificial colours", "Negative prompt"),
        "l": empty("EmptyLatentImage"),
        "k": sampled(["m", 0], ["p", 0], ["n", 0], ["l", 0], steps=35, cfg=4.0),
    }


NEEDS = needs(ANIMA, "Anima", QWEN_VAE, ANIMA_TEXT)
TEMPLATES = (
    Template(
        "anima", "Anima", "Text to image with Anima, which draws and knows the tags of drawings.", NEEDS, ended(anima("er_sde"), "anima"),
    ),
    Template(
        "anima_depth", "Anima after a picture's depth", "Anima steered by how far things are in a picture, with a ControlNet-LLLite.",
        (*NEEDS, File(ANIMA_DEPTH, "ControlNet-LLLite for Anima", "model_patches"), File(MEASURER, "Depth Anything 3", GEOMETRY)),
        ended(anima_after_depth(), "anima_depth"),
    ),
    Template(
        "cosmos_predict2", "Cosmos Predict 2", "Text to image with Cosmos Predict 2, 2B.",
        needs(COSMOS, "Cosmos Predict 2", WAN_VAE, COSMOS_TEXT), ended(cosmos(), "cosmos_predict2"),
    ),
)  # fmt: skip
