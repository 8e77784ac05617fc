"""Graphs of Stable Diffusion models and what is built like them."""

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
    Node,
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

LCM = "LCM_Dreamshaper_v7_4k.safetensors"
LCM_MODEL = Model(LCM, "LCM of SD 1")


def editing(file: str, prompt: str, **sigmas: Any) -> Graph:
    """Instruct-pix2pix: guided by text and by picture."""
    return ended(
        {
            **loaded(file, prompt),
            "i": picture("Picture to edit"),
            "c": node("InstructPixToPixConditioning", positive=["2", 0], negative=["3", 0], vae=["1", 2], pixels=["i", 0]),
            "g": node("DualCFGGuider", model=["1", 0], cond1=["c", 0], cond2=["c", 1], negative=["3", 0], cfg_conds=7.5,
                      cfg_cond2_negative=1.5, style="regular"),
            "n": node("RandomNoise", noise_seed=1),
            "o": node("KSamplerSelect", sampler_name="euler"),
            "t": node("BasicScheduler", model=["1", 0], **{"scheduler": "normal", "steps": 25, "denoise": 1.0, **sigmas}),
            "k": node("SamplerCustomAdvanced", noise=["n", 0], guider=["g", 0], sampler=["o", 0], sigmas=["t", 0], latent_image=["c", 2]),
        },
        "edited",
    )  # fmt: skip


def marigold(kind: str) -> Graph:
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=f"marigold-{kind}.safetensors"),
        "2": node("CLIPTextEncode", "Empty prompt", text="", clip=["1", 1]),
        "i": picture(),
        "c": node("MarigoldConditioning", conditioning=["2", 0], vae=["1", 2], pixels=["i", 0]),
        "k": sampled(["c", 1], ["c", 0], ["c", 0], steps=10, cfg=1.0, sampler_name="ddim", scheduler="simple"),
        "d": node("VAEDecode", samples=["k", 0], vae=["1", 2]),
        "e": node("MarigoldDecode", image=["d", 0], kind=kind),
        "s": node("SaveImage", images=["e", 0], filename_prefix=kind),
    }


def with_models(graph: Graph, model: Node, key: str) -> Graph:
    """The graph with a sampler that takes its model from another loader."""
    graph = {**graph, "m": model}
    graph[key]["inputs"]["model"] = ["m", 0]
    return graph


def refined() -> Graph:
    second = {
        "r": node("CheckpointLoaderSimple", "Refiner", ckpt_name="sd_xl_refiner_1.0.safetensors"),
        "rp": node("CLIPTextEncodeSDXLRefiner", ascore=6.0, width=1024, height=1024, text=CAT, clip=["r", 1]),
        "rn": node("CLIPTextEncodeSDXLRefiner", ascore=2.5, width=1024, height=1024, text="", clip=["r", 1]),
    }
    steps: dict[str, Any] = {"noise_seed": 1, "steps": 25, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal"}
    base = node("KSamplerAdvanced", model=["1", 0], add_noise="enable", positive=["2", 0], negative=["3", 0], latent_image=["l", 0],
                start_at_step=0, end_at_step=20, return_with_leftover_noise="enable", **steps)  # fmt: skip
    rest = node("KSamplerAdvanced", model=["r", 0], add_noise="disable", positive=["rp", 0], negative=["rn", 0], latent_image=["b", 0],
                start_at_step=20, end_at_step=10000, return_with_leftover_noise="disable", **steps)  # fmt: skip
    return ended({**loaded("sd_xl_base_1.0.safetensors", CAT), "l": empty(1024), **second, "b": base, "k": rest}, "refined")


def turbo() -> Graph:
    return ended(
        {
            **loaded("sd_xl_turbo_1.0_fp16.safetensors", CAT),
            "l": empty(512),
            "o": node("KSamplerSelect", sampler_name="euler_ancestral"),
            "t": node("SDTurboScheduler", model=["1", 0], steps=1, denoise=1.0),
            "k": node("SamplerCustom", model=["1", 0], add_noise=True, noise_seed=1, cfg=1.0, positive=["2", 0], negative=["3", 0],
                      sampler=["o", 0], sigmas=["t", 0], latent_image=["l", 0]),
        },
        "turbo",
    )  # fmt: skip


def variation() -> Graph:
    return {
        "m": node("UNETLoader", unet_name="sd-image-variations.safetensors", weight_dtype="default"),
        "v": node("VAELoader", vae_name="vae-ft-mse-840000-ema-pruned.safetensors"),
        "e": node("CLIPVisionLoader", clip_name="clip_vision_vit_l.safetensors"),
        "i": picture(),
        "o": node("CLIPVisionEncode", clip_vision=["e", 0], image=["i", 0], crop="center"),
        "c": node("ImageVariationConditioning", clip_vision_output=["o", 0]),
        "l": empty(512),
        "k": sampled(["l", 0], ["c", 0], ["c", 1], model=["m", 0]),
        "d": node("VAEDecode", samples=["k", 0], vae=["v", 0]),
        "s": node("SaveImage", images=["d", 0], filename_prefix="variation"),
    }


def unclip() -> Graph:
    graph = text_to_image("sd21-unclip-h.ckpt", 768, "best quality")
    graph["1"] = node("unCLIPCheckpointLoader", ckpt_name="sd21-unclip-h.ckpt")
    graph["i"] = picture()
    graph["o"] = node("CLIPVisionEncode", clip_vision=["1", 3], image=["i", 0], crop="center")
    graph["c"] = node("unCLIPConditioning", conditioning=["2", 0], clip_vision_output=["o", 0], strength=1.0, noise_augmentation=0.0)
    graph["k"]["inputs"]["positive"] = ["c", 0]
    return graph


def from_prior() -> Graph:
    graph = text_to_image("sd21-unclip-l.ckpt", 768, CAT)
    prior = {
        "pm": node("UNETLoader", "Prior", unet_name="karlo_prior.safetensors", weight_dtype="default"),
        "pt": node("CLIPLoader", "Text encoder of the prior", clip_name="clip_l_projected.safetensors", type="stable_diffusion"),
        "pc": node("PriorConditioning", clip=["pt", 0], text=CAT, negative="", batch_size=1),
        "pk": sampled(["pc", 2], ["pc", 0], ["pc", 1], model=["pm", 0], cfg=4.0, sampler_name="ddpm", scheduler="simple"),
        "pe": node("PriorEmbedding", samples=["pk", 0]),
        "c": node("unCLIPConditioning", conditioning=["2", 0], clip_vision_output=["pe", 0], strength=1.0, noise_augmentation=0.0),
    }
    graph["k"]["inputs"]["positive"] = ["c", 0]
    return {**prior, **graph}


def upscaled() -> Graph:
    shown = node("SD_4XUpscale_Conditioning", images=["i", 0], positive=["2", 0], negative=["3", 0], scale_ratio=4.0,
                 noise_augmentation=0.06)  # fmt: skip
    graph = {**loaded("x4-upscaler-ema.safetensors", "sharp, detailed"), "i": picture("Small picture"), "c": shown}
    return ended({**graph, "k": sampled(["c", 2], ["c", 0], ["c", 1], cfg=9.0)}, "upscaled")


def doubled() -> Graph:
    graph = text_to_image(SD1, 512, CAT)
    graph["u"] = node("DiffusersLoader", "Latent upscaler", model_path="sd-x2-latent-upscaler")
    graph["c"] = node("LatentUpscalerConditioning", clip=["u", 1], samples=["k", 0], text=CAT, negative="")
    graph["b"] = sampled(["c", 2], ["c", 0], ["c", 1], model=["u", 0], steps=10, cfg=1.0, sampler_name="euler")
    graph["d"]["inputs"]["samples"] = ["b", 0]
    return graph


def depth_guided() -> Graph:
    graph = {
        **loaded("512-depth-ema.ckpt", CAT),
        "i": picture(),
        "z": picture("Depth of the picture: bright is near"),
        "c": node("DepthToImageConditioning", positive=["2", 0], negative=["3", 0], depth=["z", 0]),
        "l": node("VAEEncode", pixels=["i", 0], vae=["1", 2]),
    }
    return ended({**graph, "k": sampled(["l", 0], ["c", 0], ["c", 1], denoise=0.8)}, "depth_to_image")


def rgbd(file: str, prompt: str) -> Graph:
    graph = text_to_image(file, 512, prompt, cfg=5.0)
    graph["x"] = node("SplitRGBD", image=["d", 0])
    graph["s"] = node("SaveImage", "Picture", images=["x", 0], filename_prefix="picture")
    graph["z"] = node("SaveImage", "Depth", images=["x", 1], filename_prefix="depth")
    return graph


def rgbd_upscaled() -> Graph:
    file = "ldm3d-sr.safetensors"
    graph = {
        **loaded(file, "sharp, detailed"),
        "i": picture("Small picture"),
        "z": picture("Its depth: bright is near"),
        "c": node("RGBDUpscaleConditioning", positive=["2", 0], negative=["3", 0], vae=["1", 2], image=["i", 0], depth=["z", 0], scale=4.0),
        "k": sampled(["c", 2], ["c", 0], ["c", 1], cfg=5.0),
        "d": node("VAEDecode", samples=["k", 0], vae=["1", 2]),
        "x": node("SplitRGBD", image=["d", 0]),
    }
    graph["s"] = node("SaveImage", "Picture", images=["x", 0], filename_prefix="picture")
    return {**graph, "t": node("SaveImage", "Depth", images=["x", 1], filename_prefix="depth")}


def image_to_image(file: str = SD1, **settings: Any) -> Graph:
    graph = {**loaded(file, CAT), "i": picture(), "l": node("VAEEncode", pixels=["i", 0], vae=["1", 2])}
    return ended({**graph, "k": sampled(["l", 0], **{"denoise": 0.6, **settings})}, "image_to_image")


def polished() -> Graph:
    """A finished latent, gone over once more by the refiner."""
    graph = text_to_image(XL, 1024, CAT, cfg=5.0)
    graph["r"] = node("CheckpointLoaderSimple", "Refiner", ckpt_name="sd_xl_refiner_1.0.safetensors")
    graph["rp"] = node("CLIPTextEncodeSDXLRefiner", ascore=6.0, width=1024, height=1024, text=CAT, clip=["r", 1])
    graph["rn"] = node("CLIPTextEncodeSDXLRefiner", ascore=2.5, width=1024, height=1024, text="", clip=["r", 1])
    graph["b"] = sampled(["k", 0], ["rp", 0], ["rn", 0], model=["r", 0], cfg=5.0, denoise=0.25)
    graph["d"]["inputs"]["samples"] = ["b", 0]
    return graph


def staged() -> Graph:
    """Small, enlarged, gone over again."""
    graph = text_to_image(SD1, 512, CAT)
    graph["u"] = node("LatentUpscaleBy", samples=["k", 0], upscale_method="bislerp", scale_by=1.5)
    graph["b"] = sampled(["u", 0], denoise=0.5)
    graph["d"]["inputs"]["samples"] = ["b", 0]
    return graph


def panoramic() -> Graph:
    graph = rgbd("ldm3d-pano.safetensors", "360 degree view of a beach, equirectangular")
    graph["l"] = empty(512, 1024)
    return graph


def consistent_again() -> Graph:
    graph = image_to_image(LCM, steps=4, cfg=1.0, sampler_name="lcm", scheduler="simple")
    graph["c"] = node("FluxGuidance", "How strongly to follow the prompt", conditioning=["2", 0], guidance=8.5)
    graph["k"]["inputs"]["positive"] = ["c", 0]
    return graph


def masked() -> Graph:
    graph = {**loaded(SD1, CAT), "i": picture("Picture with a mask"), "e": node("VAEEncode", pixels=["i", 0], vae=["1", 2])}
    graph["l"] = node("SetLatentNoiseMask", samples=["e", 0], mask=["i", 1])
    return ended({**graph, "k": sampled(["l", 0])}, "inpainting")


def kept_around() -> Graph:
    graph = inpainting("sd-v1-5-inpainting.ckpt", CAT)
    graph["v"] = node("VAELoader", vae_name="asymmetric-autoencoder-kl-x-1-5.safetensors")
    graph["c"]["inputs"]["vae"] = ["v", 0]
    graph["d"] = node("VAEDecodeAround", samples=["k", 0], vae=["v", 0], pixels=["i", 0], mask=["i", 1])
    return graph


def painted_pixels() -> Graph:
    graph = text_to_image(SD1, 512, CAT)
    graph["v"] = node("VAELoader", vae_name="consistency-decoder.safetensors")
    graph["d"]["inputs"]["vae"] = ["v", 0]
    return graph


def quickly_decoded() -> Graph:
    graph = painted_pixels()
    graph["v"]["inputs"]["vae_name"] = "taesd.safetensors"
    return graph


def from_parts() -> Graph:
    """SDXL whose parts lie in files of their own."""
    graph = text_to_image(XL, 1024, CAT, cfg=5.0)
    graph["1"] = node("UNETLoader", unet_name="sdxl_unet.safetensors", weight_dtype="default")
    graph["t"] = node("DualCLIPLoader", clip_name1="clip_l.safetensors", clip_name2="clip_g.safetensors", type="sdxl")
    graph["v"] = node("VAELoader", vae_name="sdxl_vae.safetensors")
    for key in ("2", "3"):
        graph[key]["inputs"]["clip"] = ["t", 0]
    graph["d"]["inputs"]["vae"] = ["v", 0]
    return graph


def lightning() -> Graph:
    model = node("UNETLoader", unet_name="sdxl_lightning_4step_unet.safetensors", weight_dtype="default")
    graph = text_to_image(XL, 1024, CAT, steps=4, cfg=1.0, sampler_name="euler", scheduler="sgm_uniform")
    return with_models(graph, model, "k")


def consistent() -> Graph:
    graph = text_to_image(LCM, 768, CAT, steps=4, cfg=1.0, sampler_name="lcm", scheduler="simple")
    graph["c"] = node("FluxGuidance", "How strongly to follow the prompt", conditioning=["2", 0], guidance=8.5)
    graph["k"]["inputs"]["positive"] = ["c", 0]
    return graph


def whole_xl() -> Graph:
    graph = text_to_image(XL, 1024, CAT, steps=25, cfg=5.0, sampler_name="euler", scheduler="normal")
    sizes = {"width": 1024, "height": 1024, "crop_w": 0, "crop_h": 0, "target_width": 1024, "target_height": 1024}
    for key, text in (("2", CAT), ("3", "")):
        graph[key] = node("CLIPTextEncodeSDXL", graph[key]["_meta"]["title"], clip=["1", 1], text_g=text, text_l=text, **sizes)
    return graph


TEMPLATES = (
    Template("sd1_text_to_image", "Text to image", "A picture from a prompt.", (SD1_MODEL,), text_to_image(SD1, 512, CAT, "blurry")),
    Template("sd1_image_to_image", "Image to image", "Paint a picture again, guided by a prompt.", (SD1_MODEL,), image_to_image()),
    Template("sd1_stages", "Small, then larger", "The composition is found at 512 pixels, the detail at 768.", (SD1_MODEL,), staged()),
    Template("bk_sdm", "BK-SDM", "Stable Diffusion 1 at half its size.", (Model("bk-sdm-small.safetensors", "BK-SDM small"),),
             text_to_image("bk-sdm-small.safetensors", 512, CAT)),
    Template("sd1_masked", "Inpainting with any model", "Paint anew what a mask selects, with an ordinary model.", (SD1_MODEL,), masked()),
    Template("sd1_inpainting", "Inpainting", "Paint anew what a mask selects, with a model made for it.",
             (Model("sd-v1-5-inpainting.ckpt", "Stable Diffusion 1.5 inpainting"),), inpainting("sd-v1-5-inpainting.ckpt", CAT)),
    Template("sd1_asymmetric_vae", "Inpainting with an asymmetric VAE", "Keeps what lies outside the mask sharp.",
             (Model("sd-v1-5-inpainting.ckpt", "Stable Diffusion 1.5 inpainting"),
              Model("asymmetric-autoencoder-kl-x-1-5.safetensors", "asymmetric VAE of SD 1", "vae")), kept_around()),
    Template("sd1_consistency_decoder", "Consistency decoder", "Faces and letters come out clearer; decoding takes longer.",
             (SD1_MODEL, Model("consistency-decoder.safetensors", "consistency decoder", "vae")), painted_pixels()),
    Template("sd1_tiny_vae", "Tiny autoencoder", "Decoding in a blink, with a little less detail.",
             (SD1_MODEL, Model("taesd.safetensors", "tiny autoencoder of SD 1", "vae")), quickly_decoded()),
    Template("sd2_base", "Stable Diffusion 2 base", "A picture of 512 pixels from a prompt.",
             (Model("v2-1_512-ema-pruned.safetensors", "Stable Diffusion 2.1 base"),),
             text_to_image("v2-1_512-ema-pruned.safetensors", 512, CAT)),
    Template("sd2_text_to_image", "Stable Diffusion 2", "A picture of 768 pixels from a prompt.",
             (Model("v2-1_768-ema-pruned.safetensors", "Stable Diffusion 2.1"),),
             text_to_image("v2-1_768-ema-pruned.safetensors", 768, CAT)),
    Template("sd2_inpainting", "Stable Diffusion 2 inpainting", "Paint anew what a mask selects.",
             (Model("512-inpainting-ema.safetensors", "Stable Diffusion 2 inpainting"),),
             inpainting("512-inpainting-ema.safetensors", CAT)),
    Template("sd2_depth", "Depth to image", "Keep how far things are, change what they are.",
             (Model("512-depth-ema.ckpt", "Stable Diffusion 2 depth"),), depth_guided()),
    Template("sd2_unclip", "unCLIP", "A picture like another picture, and like a prompt.",
             (Model("sd21-unclip-h.ckpt", "Stable Diffusion 2.1 unCLIP"),), unclip()),
    Template("unclip_prior", "unCLIP from a prompt", "A prior imagines what a picture means, unCLIP paints it.",
             (Model("karlo_prior.safetensors", "prior of Karlo", "diffusion_models"),
              Model("clip_l_projected.safetensors", "CLIP-L with its projection", "text_encoders"),
              Model("sd21-unclip-l.ckpt", "Stable Diffusion 2.1 unCLIP on CLIP-L")), from_prior()),
    Template("x4_upscaler", "Upscaler ×4", "Four times the pixels, with invented detail.",
             (Model("x4-upscaler-ema.safetensors", "Stable Diffusion x4 upscaler"),), upscaled()),
    Template("x2_upscaler", "Latent upscaler ×2", "Twice the size, before anything is decoded.",
             (SD1_MODEL, Model("sd-x2-latent-upscaler", "x2 latent upscaler, a diffusers folder", "diffusers")), doubled()),
    Template("image_variation", "Image variation", "Pictures like a picture, without words.",
             (Model("sd-image-variations.safetensors", "image variation UNet", "diffusion_models"),
              Model("vae-ft-mse-840000-ema-pruned.safetensors", "VAE of SD 1", "vae"),
              Model("clip_vision_vit_l.safetensors", "CLIP-L image encoder", "clip_vision")), variation()),
    Template("ldm3d", "Picture with depth", "A picture and how far its things are.",
             (Model("ldm3d.safetensors", "LDM3D"),), rgbd("ldm3d.safetensors", "a lighthouse on a cliff")),
    Template("ldm3d_panorama", "Panorama with depth", "All around, twice as wide as high, and how far things are.",
             (Model("ldm3d-pano.safetensors", "LDM3D for panoramas"),), panoramic()),
    Template("ldm3d_upscaler", "Upscaler for pictures with depth", "Four times the pixels, of a picture and of its depth.",
             (Model("ldm3d-sr.safetensors", "LDM3D-SR"),), rgbd_upscaled()),
    Template("instruct_pix2pix", "Edit by instruction", "Say what to change.",
             (Model("instruct-pix2pix-00-22000.safetensors", "InstructPix2Pix"),),
             editing("instruct-pix2pix-00-22000.safetensors", "turn it into a watercolour")),
    Template("sdxl_text_to_image", "SDXL", "A picture of 1024 pixels, with the sizes and crops SDXL is told.", (XL_MODEL,), whole_xl()),
    Template("sdxl_parts", "SDXL from its parts", "Net, text encoders and VAE from files of their own.",
             (Model("sdxl_unet.safetensors", "UNet of SDXL", "diffusion_models"), Model("clip_l.safetensors", "CLIP-L", "text_encoders"),
              Model("clip_g.safetensors", "OpenCLIP-bigG", "text_encoders"), Model("sdxl_vae.safetensors", "VAE of SDXL", "vae")),
             from_parts()),
    Template("sdxl_refiner", "SDXL with refiner", "Two models share one schedule: the base begins, the refiner ends.",
             (XL_MODEL, Model("sd_xl_refiner_1.0.safetensors", "SDXL refiner")), refined()),
    Template("sdxl_refined_after", "SDXL, gone over by the refiner", "The base finishes the picture, the refiner adds detail.",
             (XL_MODEL, Model("sd_xl_refiner_1.0.safetensors", "SDXL refiner")), polished()),
    Template("sdxl_image_to_image", "SDXL from a picture", "Paint a picture again, guided by a prompt.", (XL_MODEL,),
             image_to_image(XL, cfg=5.0, denoise=0.5)),
    Template("ssd_1b", "SSD-1B", "SDXL at half its size.", (Model("SSD-1B.safetensors", "SSD-1B"),),
             text_to_image("SSD-1B.safetensors", 1024, CAT, cfg=9.0)),
    Template("sdxl_inpainting", "SDXL inpainting", "Paint anew what a mask selects.",
             (Model("sd_xl_inpainting_0.1.safetensors", "SDXL inpainting"),),
             inpainting("sd_xl_inpainting_0.1.safetensors", CAT, cfg=5.0)),
    Template("sdxl_turbo", "SDXL Turbo", "A picture in one step.", (Model("sd_xl_turbo_1.0_fp16.safetensors", "SDXL Turbo"),), turbo()),
    Template("sdxl_lightning", "SDXL Lightning", "A picture in four steps; the same graph runs Hyper-SD.",
             (XL_MODEL, Model("sdxl_lightning_4step_unet.safetensors", "SDXL Lightning UNet", "diffusion_models")), lightning()),
    Template("playground", "Playground 2.5", "A picture of 1024 pixels in vivid colours.",
             (Model("playground-v2.5-1024px-aesthetic.fp16.safetensors", "Playground 2.5"),),
             text_to_image("playground-v2.5-1024px-aesthetic.fp16.safetensors", 1024, CAT, cfg=3.0)),
    Template("cosxl", "CosXL", "SDXL from the deepest black to the purest white.", (Model("cosxl.safetensors", "CosXL"),),
             text_to_image("cosxl.safetensors", 1024, CAT, cfg=5.0)),
    Template("cosxl_edit", "CosXL edit", "Say what to change, at 1024 pixels.", (Model("cosxl_edit.safetensors", "CosXL edit"),),
             editing("cosxl_edit.safetensors", "make it winter", scheduler="karras")),
    Template("lcm", "Latent consistency model", "A picture in four steps.",
             (LCM_MODEL,), consistent()),
    Template("lcm_image_to_image", "Latent consistency model from a picture", "Paint a picture again in four steps.", (LCM_MODEL,),
             consistent_again()),
    Template("marigold_depth", "Marigold depth", "How far things are, estimated by a diffusion model.",
             (Model("marigold-depth.safetensors", "Marigold depth"),), marigold("depth")),
    Template("marigold_normals", "Marigold normals", "Which way surfaces face, estimated by a diffusion model.",
             (Model("marigold-normals.safetensors", "Marigold normals"),), marigold("normals")),
)  # fmt: skip
