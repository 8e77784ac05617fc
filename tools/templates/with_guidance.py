"""Graphs that guide or edit: other ways to follow a prompt, large and tiled pictures, changes to a part of one."""

from __future__ import annotations

from typing import Any

from tools.templates.parts import (
    CAT,
    SD1,
    SD1_MODEL,
    XL,
    XL_MODEL,
    Graph,
    Model,
    Template,
    empty,
    ended,
    inpainting,
    loaded,
    node,
    picture,
    sampled,
    text_to_image,
)
from tools.templates.stable_diffusion import image_to_image

DOG = "a photograph of a dog in a garden, morning light"
FILLS, XL_FILLS, V_FILE = "sd-v1-5-inpainting.ckpt", "sd_xl_inpainting_0.1.safetensors", "v2-1_768-ema-pruned.safetensors"
VALLEY = "a wide valley with a river, mountains on the horizon, evening light"


def patched(graph: Graph, type: str, **inputs: Any) -> Graph:
    """The sampler's model through a node."""
    sampler = graph["k"]
    made = {**graph, "k": {**sampler, "inputs": {**sampler["inputs"], "model": ["g", 0]}}}
    return {"1": made.pop("1"), "g": node(type, model=sampler["inputs"]["model"], **inputs), **made}


def panorama(circular: bool) -> Graph:
    graph = ended({**loaded(SD1, VALLEY), "l": empty(512, 2048), "k": sampled(["l", 0])}, "panorama")
    return patched(graph, "PanoramaWindows", window=512, stride=64, circular=circular)


def seamless() -> Graph:
    graph = patched(text_to_image(SD1, 512, "a pattern of leaves and berries, flat illustration"), "SeamlessTiling", direction="both")
    return {**graph, "d": node("VAEDecodeSeamless", samples=["k", 0], vae=["1", 2], direction="both")}


def safe() -> Graph:
    graph = patched(text_to_image(SD1, 512, CAT), "SafeLatentDiffusion", concept=["c", 0], scale=1000.0, threshold=0.01, warmup_steps=7,
                    momentum=0.3, momentum_beta=0.4)  # fmt: skip
    concept = node("CLIPTextEncode", "What to keep away from", text="violence, blood, weapons", clip=["1", 1])
    return {"1": graph.pop("1"), "c": concept, **graph}


def diffedit() -> Graph:
    prompts = {"source": ["2", 0], "target": ["t", 0], "negative": ["3", 0]}
    mask = node("DiffEditMask", model=["1", 0], **prompts, latent=["e", 0], seed=1, cfg=7.5, strength=0.5, maps=10, threshold=3.0)
    edit = node("DiffEdit", model=["1", 0], **prompts, latent_image=["e", 0], mask=["m", 0], steps=40, cfg=7.5, scheduler="ddim_uniform",
                denoise=0.8)  # fmt: skip
    start = loaded(SD1, CAT)
    start["2"]["_meta"] = {"title": "What the picture shows"}
    return ended(
        {
            **start, "t": node("CLIPTextEncode", "What it should show", text=DOG, clip=["1", 1]), "i": picture(),
            "e": node("VAEEncode", pixels=["i", 0], vae=["1", 2]), "m": mask, "k": edit,
        },
        "diffedit",
    )  # fmt: skip


def inverted() -> Graph:
    """From a picture to its noise, and back under another prompt."""
    plain: dict[str, Any] = {"add_noise": False, "noise_seed": 0, "cfg": 1.0, "negative": ["3", 0]}
    return ended(
        {
            **loaded(SD1, CAT), "t": node("CLIPTextEncode", "What it should show", text=DOG, clip=["1", 1]), "i": picture(),
            "e": node("VAEEncode", pixels=["i", 0], vae=["1", 2]),
            "b": node("BasicScheduler", model=["1", 0], scheduler="ddim_uniform", steps=50, denoise=1.0),
            "f": node("FlipSigmas", sigmas=["b", 0]), "u": node("SamplerDDIMInversion"), "w": node("KSamplerSelect", sampler_name="ddim"),
            "n": node("SamplerCustom", "To the noise", **plain, model=["1", 0], positive=["2", 0], sampler=["u", 0], sigmas=["f", 0],
                      latent_image=["e", 0]),
            "k": node("SamplerCustom", "Back", **{**plain, "cfg": 3.0}, model=["1", 0], positive=["t", 0], sampler=["w", 0],
                      sigmas=["b", 0], latent_image=["n", 0]),
        },
        "inverted",
    )  # fmt: skip


def stitched() -> Graph:
    """The masked part alone, as large as the model likes it, put back into the whole."""
    cut = node(
        "InpaintCropRegion", image=["i", 0], mask=["i", 1], width=512, height=512, context=1.5, padding=16, grow_mask=4, blur_mask=16
    )
    graph = ended(
        {
            **loaded(SD1, CAT), "i": picture("Picture with a mask"), "c": cut,
            "e": node("VAEEncode", pixels=["c", 1], vae=["1", 2]), "m": node("SetLatentNoiseMask", samples=["e", 0], mask=["c", 2]),
            "k": sampled(["m", 0], denoise=0.8),
        },
        "stitched",
    )  # fmt: skip
    return {
        **graph,
        "p": node("InpaintStitchRegion", stitcher=["c", 0], inpainted_image=["d", 0]),
        "s": node("SaveImage", images=["p", 0], filename_prefix="stitched"),
    }


def faster() -> Graph:
    graph = patched(text_to_image(SD1, 512, CAT), "DeepCache", interval=3, depth=2, start_percent=0.0, end_percent=1.0)
    freed = node("FreeU_V2", model=["g", 0], b1=1.3, b2=1.4, s1=0.9, s2=0.2)
    gated = node("TGate", model=["f", 0], gate_percent=0.4)
    sampler = graph["k"]
    return {
        "1": graph.pop("1"), "g": graph.pop("g"), "f": freed, "t": gated, **graph,
        "k": {**sampler, "inputs": {**sampler["inputs"], "model": ["t", 0]}},
    }  # fmt: skip


def without_words() -> Graph:
    """Perp-Neg: only what of the negative prompt is not in the positive one too is kept away from."""
    graph = text_to_image(SD1, 512, CAT, "a cat in a house")
    graph |= {
        "z": node("CLIPTextEncode", "Empty prompt", text="", clip=["1", 1]),
        "g": node("PerpNegGuider", model=["1", 0], positive=["2", 0], negative=["3", 0], empty_conditioning=["z", 0], cfg=7.0,
                  neg_scale=1.0),
        "n": node("RandomNoise", noise_seed=1),
        "o": node("KSamplerSelect", sampler_name="dpmpp_2m"),
        "t": node("BasicScheduler", model=["1", 0], scheduler="karras", steps=25, denoise=1.0),
        "k": node("SamplerCustomAdvanced", noise=["n", 0], guider=["g", 0], sampler=["o", 0], sigmas=["t", 0], latent_image=["l", 0]),
    }  # fmt: skip
    return graph


def stepped(type: str, file: str = SD1, side: int = 512, **settings: Any) -> Graph:
    """With a schedule of steps from a node of its own."""
    graph = text_to_image(file, side, CAT)
    graph |= {
        "o": node("KSamplerSelect", sampler_name="dpmpp_2m"),
        "t": node(type, **settings),
        "k": node("SamplerCustom", model=["1", 0], add_noise=True, noise_seed=1, cfg=7.0, positive=["2", 0], negative=["3", 0],
                  sampler=["o", 0], sigmas=["t", 0], latent_image=["l", 0]),
    }  # fmt: skip
    return graph


def dark_and_bright() -> Graph:
    """Noise up to where nothing of the picture is left, and guidance held to the contrast of what it guides."""
    graph = patched(text_to_image(V_FILE, 768, "a candle in a dark room"), "RescaleCFG", multiplier=0.7)
    graph["z"] = node("ModelSamplingDiscrete", model=["1", 0], sampling="v_prediction", zsnr=True)
    graph["g"]["inputs"]["model"] = ["z", 0]
    return graph


def by_degrees() -> Graph:
    """A mask of greys: the brighter a place, the more of sampling may change it."""
    graph = patched(inpainting(FILLS, CAT), "DifferentialDiffusion", strength=1.0)
    graph["b"] = node("FeatherMask", mask=["i", 1], left=64, top=64, right=64, bottom=64)
    graph["c"]["inputs"]["mask"] = ["b", 0]
    return graph


def wide_windows() -> Graph:
    graph = ended({**loaded(SD1, VALLEY), "l": empty(512, 1536), "k": sampled(["l", 0])}, "windows")
    return patched(graph, "ContextWindowsManual", context_length=64, context_overlap=24, context_schedule="standard_static",
                   context_stride=1, closed_loop=False, fuse_method="pyramid", dim=3)  # fmt: skip


SPAN: dict[str, Any] = {"start_percent": 0.0, "end_percent": 1.0}
PATCHES: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
    ("dynamic_cfg", "Dynamic guidance", "Guidance that weakens as sampling goes on.", "DynamicCFG",
     {"cfg_start": 9.0, "cfg_end": 3.0, "curve": "cosine", **SPAN, "guide_outside": False}),
    ("apg", "Projected guidance (APG)", "High guidance without burnt colours.", "APG",
     {"eta": 0.0, "norm_threshold": 15.0, "momentum": -0.5}),
    ("skip_layers", "Skip-layer guidance", "Guidance away from what the model draws with a block left out.", "SkipLayerGuidanceUNet",
     {"block": "middle", "numbers": "0", "scale": 2.5, "start_percent": 0.01, "end_percent": 0.3}),
    ("tcfg", "Tangential damping (TCFG)", "Guidance without what pulls sideways.", "TCFG", {}),
    ("cfg_zero_star", "Guidance from a fitted start (CFG-Zero*)", "What is guided away from is scaled to fit first.", "CFGZeroStar", {}),
    ("mahiro", "Mahiro", "Guidance that leans to the positive prompt.", "Mahiro", {}),
    ("fresca", "FreSca", "More guidance for detail than for composition.", "FreSca",
     {"scale_low": 1.0, "scale_high": 1.25, "freq_cutoff": 20}),
    ("freeu", "FreeU", "Stronger shapes, by weighing what is skipped.", "FreeU_V2", {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}),
    ("attention_multiply", "Weigh what the prompt is matched by", "Keys and queries of cross-attention, made a little stronger.",
     "UNetCrossAttentionMultiply", {"q": 1.1, "k": 1.1, "v": 1.0, "out": 1.0}),
    ("easy_cache", "EasyCache", "Steps that would change little are left out.", "EasyCache",
     {"reuse_threshold": 0.2, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}),
    ("token_merging", "Token merging (ToMe)", "Places that look alike are computed once.", "TomePatchModel", {"ratio": 0.3}),
)  # fmt: skip
LARGE: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
    ("deep_shrink", "Deep shrink", "A picture larger than the model's, without doubled heads.", "PatchModelAddDownscale",
     {"block_number": 3, "downscale_factor": 2.0, "start_percent": 0.0, "end_percent": 0.35, "downscale_after_skip": True,
      "downscale_method": "bicubic", "upscale_method": "bicubic"}),
    ("hypertile", "HyperTile", "Large pictures faster: attention within tiles.", "HyperTile",
     {"tile_size": 256, "swap_size": 2, "max_depth": 0, "scale_depth": False}),
)  # fmt: skip

TEMPLATES = (
    Template("sd1_pag", "Perturbed attention (PAG)", "Guidance away from what the model draws without looking around.", (SD1_MODEL,),
             patched(text_to_image(SD1, 512, CAT), "PerturbedAttentionGuidance", scale=3.0)),
    Template("sdxl_pag", "Perturbed attention for SDXL", "The same for the larger model.", (XL_MODEL,),
             patched(text_to_image(XL, 1024, CAT, cfg=5.0), "PerturbedAttentionGuidance", scale=3.0)),
    Template("sd1_image_to_image_pag", "Image to image with perturbed attention", "Paint a picture again, with sharper structure.",
             (SD1_MODEL,), patched(image_to_image(), "PerturbedAttentionGuidance", scale=3.0)),
    Template("sdxl_image_to_image_pag", "SDXL from a picture, with perturbed attention", "The same for the larger model.", (XL_MODEL,),
             patched(image_to_image(XL, cfg=5.0, denoise=0.5), "PerturbedAttentionGuidance", scale=3.0)),
    Template("sdxl_inpainting_pag", "SDXL inpainting with perturbed attention", "Paint anew what a mask selects, with sharper structure.",
             (Model(XL_FILLS, "SDXL inpainting"),), patched(inpainting(XL_FILLS, CAT, cfg=5.0), "PerturbedAttentionGuidance", scale=3.0)),
    Template("sd1_sag", "Self-attention guidance (SAG)", "Guidance away from what is blurred where the model looks.", (SD1_MODEL,),
             patched(text_to_image(SD1, 512, CAT), "SelfAttentionGuidance", scale=0.5, blur_sigma=2.0)),
    Template("panorama", "Panorama", "A picture four times as wide as the model's, in windows.", (SD1_MODEL,), panorama(False)),
    Template("panorama_closed", "Closed panorama", "A panorama whose ends meet.", (SD1_MODEL,), panorama(True)),
    Template("seamless", "Seamless pattern", "A tile whose edges meet on all sides.", (SD1_MODEL,), seamless()),
    Template("safe_latent_diffusion", "Safe latent diffusion", "Keep away from a concept, where the picture leans to it.", (SD1_MODEL,),
             safe()),
    Template("diffedit", "DiffEdit", "Say what a picture shows and should show; the place is found.", (SD1_MODEL,), diffedit()),
    Template("inversion", "Inversion", "A picture goes up to its noise and comes back under another prompt.", (SD1_MODEL,), inverted()),
    Template("inpaint_crop", "Inpaint a small part", "The masked part is drawn large and put back softly.", (SD1_MODEL,), stitched()),
    Template("faster", "Fewer computations", "DeepCache and T-GATE leave out what changes little; with FreeU.", (SD1_MODEL,), faster()),
    Template("rescaled_cfg", "Rescaled guidance, from pure noise", "Truly dark and bright pictures from models that predict velocity.",
             (Model(V_FILE, "Stable Diffusion 2.1"),), dark_and_bright()),
    Template("perp_neg", "Perp-Neg", "A negative prompt that takes nothing from the positive one.", (SD1_MODEL,), without_words()),
    Template("differential", "Differential diffusion", "A mask with soft edges, changed by degrees.",
             (Model(FILLS, "Stable Diffusion 1.5 inpainting"),), by_degrees()),
    Template("context_windows", "Context windows", "A wide picture, window by window.", (SD1_MODEL,), wide_windows()),
    Template("align_your_steps", "Align your steps", "Ten steps, put where they count for this model.", (SD1_MODEL,),
             stepped("AlignYourStepsScheduler", model_type="SD1", steps=10, denoise=1.0)),
    Template("align_your_steps_sdxl", "Align your steps for SDXL", "Ten steps, put where they count for this model.", (XL_MODEL,),
             stepped("AlignYourStepsScheduler", XL, 1024, model_type="SDXL", steps=10, denoise=1.0)),
    Template("own_sigmas", "Steps by hand", "Noise levels written down one by one.", (SD1_MODEL,),
             stepped("ManualSigmas", sigmas="14.6, 8.4, 5.0, 3.1, 2.0, 1.35, 0.93, 0.62, 0.37, 0.16, 0.03, 0")),
    *(Template(name, title, told, (SD1_MODEL,), patched(text_to_image(SD1, 512, CAT), type, **inputs))
      for name, title, told, type, inputs in PATCHES),
    *(Template(name, title, told, (SD1_MODEL,), patched(text_to_image(SD1, 1024, CAT), type, **inputs))
      for name, title, told, type, inputs in LARGE),
)  # fmt: skip
