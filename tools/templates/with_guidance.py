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
    Template,
    empty,
    ended,
    loaded,
    node,
    picture,
    sampled,
    text_to_image,
)

DOG = "a photograph of a dog in a garden, morning light"
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


TEMPLATES = (
    Template("sd1_pag", "Perturbed attention (PAG)", "Guidance away from what the model draws without looking around.", (SD1_MODEL,),
             patched(text_to_image(SD1, 512, CAT), "PerturbedAttentionGuidance", scale=3.0)),
    Template("sdxl_pag", "Perturbed attention for SDXL", "The same for the larger model.", (XL_MODEL,),
             patched(text_to_image(XL, 1024, CAT, cfg=5.0), "PerturbedAttentionGuidance", scale=3.0)),
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
)  # fmt: skip
