"""A graph that restores and enlarges a picture with SeedVR2."""

from __future__ import annotations

from tools.templates.parts import Graph, Model, Template, node, picture

NET, VAE = "seedvr2_3b_int8_convrot.safetensors", "seedvr2_ema_vae_fp16.safetensors"
SCALE = {"resize_type": "scale by multiplier", "resize_type.multiplier": 2.0, "scale_method": "lanczos"}
TILES = {"tile_size": 1024, "overlap": 128, "temporal_size": 64, "temporal_overlap": 8}
STEP = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
UPSCALED: Graph = {
    "i": picture("Picture"),
    "j": node("JoinImageWithAlpha", image=["i", 0], alpha=["i", 1]),
    "r": node("ResizeImageMaskNode", "How much larger", input=["j", 0], **SCALE),
    "p": node("SeedVR2Preprocess", resized_images=["r", 0]),
    "m": node("UNETLoader", unet_name=NET, weight_dtype="default"),
    "v": node("VAELoader", vae_name=VAE),
    "e": node("VAEEncodeTiled", pixels=["p", 0], vae=["v", 0], **TILES),
    "c": node("SeedVR2Conditioning", model=["m", 0], vae_conditioning=["e", 0]),
    "k": node("KSampler", model=["m", 0], positive=["c", 0], negative=["c", 1], latent_image=["e", 0], **STEP),
    "d": node("VAEDecodeTiled", samples=["k", 0], vae=["v", 0], **TILES),
    "o": node("SeedVR2PostProcessing", images=["d", 0], original_resized_images=["r", 0], color_correction_method="lab"),
    "s": node("SaveImage", images=["o", 0], filename_prefix="seedvr2"),
}
TEMPLATES = (
    Template(
        "seedvr2_upscale", "SeedVR2 upscaler", "A picture restored and enlarged in one step, transparency included.",
        (Model(NET, "SeedVR2 3B", "diffusion_models"), Model(VAE, "VAE of SeedVR2", "vae")),
        UPSCALED,
    ),
)  # fmt: skip
