"""Graphs that look at pictures: what stands in front, how far things are, who is in them, and how they look from another side."""

from __future__ import annotations

from tools.templates.parts import CAT, SD1, SD1_MODEL, XL, XL_MODEL, Graph, Model, Template, empty, ended, loaded, node, picture, sampled
from tools.templates.parts import text_to_image as painted
from tools.templates.with_adapters import DEPTH, controlled

CUTTER, MEASURER, SURVEYOR = "birefnet.safetensors", "depth_anything_3_mono_large.safetensors", "moge_2_vitl_normal_fp16.safetensors"
LOTUS, SD2, PERSON, TURNER = "lotus-depth-d-v1-1.safetensors", "v2-1_768-ema-pruned.safetensors", "photomaker-v1.bin", "stable_zero123.ckpt"
GEOMETRY, FINDER = "geometry_estimation", "sam3.1_multiplex_fp16.safetensors"


def cut_out() -> Graph:
    """A painted picture without its background."""
    graph = {
        **painted(SD1, 512, CAT),
        "m": node("LoadBackgroundRemovalModel", bg_removal_name=CUTTER),
        "b": node("RemoveBackground", image=["d", 0], bg_removal_model=["m", 0]),
        "t": node("InvertMask", "Transparent", mask=["b", 0]),
        "j": node("JoinImageWithAlpha", image=["d", 0], alpha=["t", 0]),
    }
    graph["s"]["inputs"]["images"] = ["j", 0]
    return graph


def found() -> Graph:
    """What a word means in a picture, cut out."""
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=FINDER),
        "2": node("CLIPTextEncode", "What to find, and how many of it", text="sun, hill:2", clip=["1", 1]),
        "i": picture(),
        "f": node("SAM3_Detect", model=["1", 0], image=["i", 0], conditioning=["2", 0], threshold=0.5, refine_iterations=2,
                  individual_masks=False),
        "t": node("InvertMask", "Transparent", mask=["f", 0]),
        "j": node("JoinImageWithAlpha", image=["i", 0], alpha=["t", 0]),
        "s": node("SaveImage", images=["j", 0], filename_prefix="found"),
    }  # fmt: skip


def depth_kept() -> Graph:
    graph = {
        **painted(SD1, 512, CAT),
        "i": picture(),
        "m": node("LoadDA3Model", model_name=MEASURER, weight_dtype="default"),
        "g": node("DA3Inference", da3_model=["m", 0], image=["i", 0], resolution=504, resize_method="upper_bound_resize", mode="mono"),
        "e": node(
            "DA3Render", da3_geometry=["g", 0], output="depth", **{"output.normalization": "v2_style", "output.apply_sky_clip": False}
        ),
    }
    return controlled(graph, DEPTH, ("e", 0))


def surveyed() -> Graph:
    return {
        "i": picture(),
        "m": node("LoadMoGeModel", model_name=SURVEYOR),
        "g": node("MoGeInference", moge_model=["m", 0], image=["i", 0], resolution_level=5, fov_x_degrees=0.0,
                  batch_size=1, force_projection=True, apply_mask=True),
        "d": node("MoGeRender", "Depth", moge_geometry=["g", 0], output="depth_colored"),
        "n": node("MoGeRender", "Normals", moge_geometry=["g", 0], output="normal_opengl"),
        "s": node("SaveImage", images=["d", 0], filename_prefix="depth"),
        "t": node("SaveImage", images=["n", 0], filename_prefix="normals"),
    }  # fmt: skip


def estimated() -> Graph:
    """Lotus: one step without noise from the picture's own latent."""
    return {
        "1": node("CheckpointLoaderSimple", "For its VAE and text encoder", ckpt_name=SD2),
        "u": node("UNETLoader", unet_name=LOTUS, weight_dtype="default"),
        "i": picture(),
        "l": node("VAEEncode", pixels=["i", 0], vae=["1", 2]),
        "c": node("LotusConditioning"),
        "g": node("BasicGuider", model=["u", 0], conditioning=["c", 0]),
        "b": node("BasicScheduler", model=["u", 0], scheduler="normal", steps=1, denoise=1.0),
        "f": node("SetFirstSigma", sigmas=["b", 0], sigma=999.0),
        "z": node("DisableNoise"),
        "q": node("KSamplerSelect", sampler_name="euler"),
        "k": node("SamplerCustomAdvanced", noise=["z", 0], guider=["g", 0], sampler=["q", 0], sigmas=["f", 0], latent_image=["l", 0]),
        "d": node("VAEDecode", samples=["k", 0], vae=["1", 2]),
        "v": node("ImageInvert", "Near is white", image=["d", 0]),
        "s": node("SaveImage", images=["v", 0], filename_prefix="depth"),
    }


def person() -> Graph:
    graph = {
        **loaded(XL, "", "blurry"),
        "i": picture("The person"),
        "m": node("PhotoMakerLoader", photomaker_model_name=PERSON),
        "l": empty(1024),
        "k": sampled(["l", 0], ["2", 0]),
    }
    graph["2"] = node(
        "PhotoMakerEncode", photomaker=["m", 0], image=["i", 0], clip=["1", 1], text="a photo of a man photomaker in a garden"
    )
    return ended(graph, "photomaker")


def turned() -> Graph:
    return {
        "1": node("ImageOnlyCheckpointLoader", ckpt_name=TURNER),
        "i": picture("A thing on white ground"),
        "c": node("StableZero123_Conditioning", clip_vision=["1", 1], init_image=["i", 0], vae=["1", 2], width=256, height=256,
                  batch_size=1, elevation=0.0, azimuth=90.0),
        "k": sampled(["c", 2], ["c", 0], ["c", 1], steps=20, cfg=4.0, sampler_name="euler", scheduler="sgm_uniform"),
        "d": node("VAEDecode", samples=["k", 0], vae=["1", 2]),
        "s": node("SaveImage", images=["d", 0], filename_prefix="turned"),
    }  # fmt: skip


TEMPLATES = (
    Template("background_removed", "Remove the background", "A painted picture whose background is transparent.",
             (SD1_MODEL, Model(CUTTER, "BiRefNet", "background_removal")), cut_out()),
    Template("sam3_segment", "Find by words", "What words mean in a picture is found and cut out.", (Model(FINDER, "SAM 3.1"),), found()),
    Template("depth_anything_3", "Depth Anything 3", "How far things are is measured in one picture and kept in another.",
             (SD1_MODEL, Model(MEASURER, "Depth Anything 3", GEOMETRY), Model(DEPTH, "ControlNet of SD 1.5, depth", "controlnet")),
             depth_kept()),
    Template("moge", "Depth and normals by MoGe", "How far things are and which way surfaces face, found at once.",
             (Model(SURVEYOR, "MoGe 2", GEOMETRY),), surveyed()),
    Template("lotus_depth", "Lotus depth", "How far things are, estimated by a diffusion model in one step.",
             (Model(LOTUS, "Lotus depth", "diffusion_models"), Model(SD2, "Stable Diffusion 2.1, for its VAE and text encoder")),
             estimated()),
    Template("photomaker", "PhotoMaker", "A person from a picture in another scene.",
             (XL_MODEL, Model(PERSON, "PhotoMaker 1", "photomaker")), person()),
    Template("zero123", "Stable Zero123", "A thing in a picture, seen from another side.",
             (Model(TURNER, "Stable Zero123"),), turned()),
)  # fmt: skip
