"""Graphs that make films with Wan."""

from __future__ import annotations

from typing import Any

from tools.templates.parts import Graph, Model, Node, Template, node, picture, sampled

SAYS, SEES, SEES_22, LOOKS = (
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    "wan_2.1_vae.safetensors",
    "wan2.2_vae.safetensors",
    "clip_vision_h.safetensors",
)
SMALL = "wan2.2_ti2v_5B_fp16.safetensors"
NOISY, CLEAR = "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors", "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors"
BETWEEN, FOLLOWS = "wan2.1_flf2v_720p_14B_fp16.safetensors", "wan2.1_vace_1.3B_fp16.safetensors"
BOAT = "a paper boat drifts down a rain-wet street at dusk, lights on the water, the camera follows it slowly"
NOT = "overexposed, static, blurred, subtitles, low quality, extra fingers, deformed, still picture"
SIZE: dict[str, Any] = {"width": 832, "height": 480, "length": 81, "batch_size": 1}


def models(net: str, kind: str, *more: Model, vae: str = SEES) -> tuple[Model, ...]:
    years = "2.2" if vae == SEES_22 else "2.1"
    return (
        Model(net, kind, "diffusion_models"),
        Model(SAYS, "UMT5 XXL", "text_encoders"),
        Model(vae, f"VAE of Wan {years}", "vae"),
        *more,
    )


def loaded(net: str, shift: float, vae: str = SEES) -> Graph:
    """Model "m" with its shift as "1", text encoder "t", VAE "v", prompts "2" and "3"."""
    return {
        "m": node("UNETLoader", unet_name=net, weight_dtype="default"),
        "1": node("ModelSamplingSD3", model=["m", 0], shift=shift),
        "t": node("CLIPLoader", clip_name=SAYS, type="wan", device="default"),
        "v": node("VAELoader", vae_name=vae),
        "2": node("CLIPTextEncode", "Prompt", text=BOAT, clip=["t", 0]),
        "3": node("CLIPTextEncode", "Negative prompt", text=NOT, clip=["t", 0]),
    }


def prompts(**more: Any) -> dict[str, Any]:
    return {"positive": ["2", 0], "negative": ["3", 0], "vae": ["v", 0], **SIZE, **more}


def painted(begun: str, **settings: Any) -> Node:
    """Sampled from what a node began."""
    usual = {"steps": 20, "cfg": 5.0, "sampler_name": "uni_pc", "scheduler": "simple"}
    return sampled([begun, 2], [begun, 0], [begun, 1], **usual | settings)


def ended(graph: Graph, prefix: str, latent: Any = ("k", 0), fps: float = 16.0) -> Graph:
    return {
        **graph,
        "d": node("VAEDecode", samples=list(latent), vae=["v", 0]),
        "f": node("CreateVideo", images=["d", 0], fps=fps),
        "s": node("SaveVideo", video=["f", 0], filename_prefix=prefix, format="auto", codec="auto"),
    }


def from_text() -> Graph:
    latent = node("Wan22ImageToVideoLatent", vae=["v", 0], width=1280, height=704, length=121, batch_size=1)
    made = sampled(["l", 0], steps=20, cfg=5.0, sampler_name="uni_pc", scheduler="simple")
    return ended({**loaded(SMALL, 8.0, SEES_22), "l": latent, "k": made}, "video/wan_text", fps=24.0)


def from_picture() -> Graph:
    def half(model: str, begun: Any, **settings: Any) -> Node:
        wires = {"model": [model, 0], "positive": ["b", 0], "negative": ["b", 1], "latent_image": begun}
        usual = {"noise_seed": 1, "steps": 20, "cfg": 3.5, "sampler_name": "euler", "scheduler": "simple"}
        return node("KSamplerAdvanced", **wires, **usual, **settings)

    return ended(
        {
            **loaded(NOISY, 8.0),
            "n": node("UNETLoader", "The net for what is less noisy", unet_name=CLEAR, weight_dtype="default"),
            "4": node("ModelSamplingSD3", model=["n", 0], shift=8.0),
            "i": picture("First picture"),
            "b": node("WanImageToVideo", **prompts(start_image=["i", 0])),
            "h": half("1", ["b", 2], add_noise="enable", start_at_step=0, end_at_step=10, return_with_leftover_noise="enable"),
            "k": half("4", ["h", 0], add_noise="disable", start_at_step=10, end_at_step=10000, return_with_leftover_noise="disable"),
        },
        "video/wan_picture",
    )


def between() -> Graph:
    seen = {
        "e": node("CLIPVisionLoader", clip_name=LOOKS),
        "i": picture("First picture"),
        "j": picture("Last picture"),
        "x": node("CLIPVisionEncode", clip_vision=["e", 0], image=["i", 0], crop="none"),
        "y": node("CLIPVisionEncode", clip_vision=["e", 0], image=["j", 0], crop="none"),
    }
    wires = {"clip_vision_start_image": ["x", 0], "clip_vision_end_image": ["y", 0], "start_image": ["i", 0], "end_image": ["j", 0]}
    begun = node("WanFirstLastFrameToVideo", **prompts(**wires))
    return ended({**loaded(BETWEEN, 8.0), **seen, "b": begun, "k": painted("b", cfg=6.0)}, "video/wan_between")


def followed() -> Graph:
    begun = node("WanVaceToVideo", **prompts(strength=1.0, reference_image=["i", 0]))
    trimmed = node("TrimVideoLatent", samples=["k", 0], trim_amount=["b", 3])
    graph = {**loaded(FOLLOWS, 8.0), "i": picture("What is to be in the film"), "b": begun, "k": painted("b", cfg=6.0), "r": trimmed}
    return ended(graph, "video/wan_vace", ("r", 0))


TEMPLATES = (
    Template(
        "wan_text_to_video", "A film from text", "Five seconds of film from a prompt with Wan 2.2 5B; it begins with a picture where one is"
        " connected.", models(SMALL, "Wan 2.2 5B", vae=SEES_22), from_text(),
    ),
    Template(
        "wan_image_to_video", "A film from a picture", "A film that begins with a picture, with both nets of Wan 2.2: one for the noisy"
        " steps, one for the rest.",
        models(NOISY, "Wan 2.2 image to video, noisy steps", Model(CLEAR, "Wan 2.2 image to video, clear steps", "diffusion_models")),
        from_picture(),
    ),
    Template(
        "wan_first_last_frame", "A film between two pictures", "Give the first and the last picture; Wan 2.1 makes what lies between.",
        models(BETWEEN, "Wan 2.1 first and last frame", Model(LOOKS, "CLIP-H image encoder", "clip_vision")), between(),
    ),
    Template(
        "wan_vace_reference", "A film with somebody from a picture", "Wan VACE makes a film of what a picture shows; connect a film and"
        " masks to follow or fill one.", models(FOLLOWS, "Wan 2.1 VACE 1.3B"), followed(),
    ),
)  # fmt: skip
