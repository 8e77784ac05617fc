"""Graphs with the adapters of SDXL, ControlNet-XS, faces and pictures encoded before, and words that were learned."""

from __future__ import annotations

from typing import Any

from tools.templates.parts import CAT, SD1, SD1_MODEL, XL, XL_MODEL, Graph, Model, Template, inpainting, node, picture, text_to_image
from tools.templates.with_adapters import FILL, IP, VISION, VISION_MODEL, canny, controlled, edges, filled, guided, with_picture

XL_FIXED, SD2, XL_FILLS = "sd_xl_base_1.0_0.9vae.safetensors", "v2-1_512-ema-pruned.safetensors", "sd_xl_inpainting_0.1.safetensors"
CANNY_XL, SKETCH_XL = "controlnet-canny-sdxl-1.0.safetensors", "t2i-adapter-sketch-sdxl-1.0.safetensors"
LOW_RANK, DIFFERENCE = "control-lora-canny-rank128.safetensors", "diff_control_sd15_canny_fp16.safetensors"
XS, XS_XL = (f"controlnet-xs-{kind}-canny/diffusion_pytorch_model.safetensors" for kind in ("sd2.1", "sdxl"))
FACE, FACE_PLUS = "ip-adapter-faceid_sd15.bin", "ip-adapter-faceid-plusv2_sd15.bin"
FACE_EMBEDS = "face.safetensors"
WORD, WORD_XL = "easynegative.safetensors", "negativeXL_D.safetensors"

CANNY_XL_MODEL = Model(CANNY_XL, "ControlNet of SDXL, edges", "controlnet")
XL_FIXED_MODEL = Model(XL_FIXED, "SDXL base")
IP_MODEL = Model(IP, "IP-Adapter of SD 1.5", "ipadapter")


def canny_xl(net: str = CANNY_XL, model: str = XL, **settings: Any) -> Graph:
    return controlled(edges(text_to_image(model, 1024, CAT, cfg=5.0)), net, ("e", 0), **{"strength": 0.6, "end_percent": 0.8, **settings})


def from_picture(graph: Graph, denoise: float = 0.7) -> Graph:
    """The graph, which has a picture as "i", beginning at that picture."""
    graph["l"] = node("VAEEncode", pixels=["i", 0], vae=["1", 2])
    graph["k"]["inputs"]["denoise"] = denoise
    return graph


def as_difference() -> Graph:
    """A net that was saved as what it adds to the model it was trained on."""
    graph = canny()
    graph["cn"] = node("DiffControlNetLoader", model=["1", 0], control_net_name=DIFFERENCE)
    return graph


def filled_xl() -> Graph:
    graph = inpainting(XL_FILLS, CAT, cfg=5.0)
    graph["e"] = node("Canny", image=["i", 0], low_threshold=0.4, high_threshold=0.8)
    return controlled(graph, CANNY_XL, ("e", 0), "cc", strength=0.5)


def sketched_xl() -> Graph:
    graph = {**text_to_image(XL_FIXED, 1024, CAT, cfg=5.0), "i": picture(), "e": node("Scribble", image=["i", 0])}
    return controlled(graph, SKETCH_XL, ("e", 0), end_percent=0.5)


def same_face(file: str, plus: bool) -> Graph:
    """Someone, by what a face recogniser knows of the face; plus adapters look at the picture of it as well."""
    graph = text_to_image(SD1, 512, "portrait of a person in a garden, morning light")
    graph |= {"pa": node("LoadIPAdapter", ip_adapter_name=file),
              "f": node("LoadFaceEmbeds", "Identity of a face: 512 numbers", embeds=FACE_EMBEDS)}  # fmt: skip
    seen: Graph = {"v": node("CLIPVisionLoader", clip_name=VISION), "i": picture("Picture of the face")} if plus else {}
    inputs = {"clip_vision": ["v", 0], "image": ["i", 0]} if plus else {}
    graph["p"] = node("ApplyIPAdapterFaceID", model=["1", 0], ip_adapter=["pa", 0], face_embeds=["f", 0], weight=0.8, start_percent=0.0,
                      end_percent=1.0, layers="all", layer_weights="", **inputs)  # fmt: skip
    graph["k"]["inputs"]["model"] = ["p", 0]
    return {**graph, **seen}


def encoded_once() -> Graph:
    graph = with_picture(text_to_image(SD1, 512, CAT), IP)
    applied = graph["p"]["inputs"]
    shown = {name: applied.pop(name) for name in ("clip_vision", "image")}
    graph["o"] = node("EncodeIPAdapter", ip_adapter=["pa", 0], **shown)
    graph["p"] = node("ApplyIPAdapterEmbeds", **applied, embeds=["o", 0])
    return {**graph, "w": node("SaveIPAdapterEmbeds", embeds=["o", 0], filename_prefix="ipadapter/embeds")}


TEMPLATES = (
    Template("controlnet_sdxl", "ControlNet for SDXL", "Follow the edges of a picture, for the larger part of sampling.",
             (XL_MODEL, CANNY_XL_MODEL), canny_xl()),
    Template("controlnet_sdxl_image_to_image", "ControlNet for SDXL from a picture", "Paint a picture again and keep its edges.",
             (XL_MODEL, CANNY_XL_MODEL), from_picture(canny_xl())),
    Template("controlnet_sdxl_inpainting", "ControlNet for SDXL inpainting", "Paint anew what a mask selects, along edges.",
             (Model(XL_FILLS, "SDXL inpainting"), CANNY_XL_MODEL), filled_xl()),
    Template("controlnet_sdxl_pag", "ControlNet for SDXL with perturbed attention", "Edges, and guidance that sharpens structure.",
             (XL_MODEL, CANNY_XL_MODEL), guided(canny_xl())),
    Template("controlnet_sdxl_image_to_image_pag", "ControlNet for SDXL from a picture, with perturbed attention",
             "Paint a picture again, keep its edges, sharpen its structure.", (XL_MODEL, CANNY_XL_MODEL),
             guided(from_picture(canny_xl()))),
    Template("controlnet_inpainting_pag", "ControlNet inpainting with perturbed attention",
             "Paint anew what a mask selects, with sharper structure.",
             (Model("sd-v1-5-inpainting.ckpt", "Stable Diffusion 1.5 inpainting"),
              Model(FILL, "ControlNet of SD 1.5, inpainting", "controlnet")), guided(filled())),
    Template("control_lora", "Control-LoRA for SDXL", "A ControlNet as a few factors over the model itself: a small file.",
             (XL_MODEL, Model(LOW_RANK, "Control-LoRA of SDXL, edges", "controlnet")), canny_xl(LOW_RANK)),
    Template("controlnet_difference", "ControlNet as a difference", "A net that is added to the model it steers.",
             (SD1_MODEL, Model(DIFFERENCE, "ControlNet of SD 1.5 as a difference, edges", "controlnet")), as_difference()),
    Template("controlnet_xs", "ControlNet-XS", "Follow edges with a very small net; it lies in a folder with its config.json.",
             (Model(SD2, "Stable Diffusion 2.1 base"), Model(XS, "ControlNet-XS of SD 2.1, edges", "controlnet")),
             controlled(edges(text_to_image(SD2, 512, CAT)), XS, ("e", 0))),
    Template("controlnet_xs_sdxl", "ControlNet-XS for SDXL", "The same for the larger model.",
             (XL_FIXED_MODEL, Model(XS_XL, "ControlNet-XS of SDXL, edges", "controlnet")), canny_xl(XS_XL, XL_FIXED)),
    Template("t2i_adapter_sdxl", "T2I-Adapter for SDXL", "Follow a sketch for the first half of sampling.",
             (XL_FIXED_MODEL, Model(SKETCH_XL, "T2I-Adapter of SDXL, sketches", "controlnet")), sketched_xl()),
    Template("ip_adapter_faceid", "IP-Adapter FaceID", "The same face again: put what a face recogniser made of it into the input folder.",
             (SD1_MODEL, Model(FACE, "IP-Adapter FaceID of SD 1.5", "ipadapter")), same_face(FACE, False)),
    Template("ip_adapter_faceid_plus", "IP-Adapter FaceID Plus", "The same face again, by its identity and by a picture of it.",
             (SD1_MODEL, Model(FACE_PLUS, "IP-Adapter FaceID Plus v2 of SD 1.5", "ipadapter"), VISION_MODEL), same_face(FACE_PLUS, True)),
    Template("ip_adapter_embeds", "IP-Adapter, encoded once", "A picture as part of the prompt; what was seen is saved for another time.",
             (SD1_MODEL, IP_MODEL, VISION_MODEL), encoded_once()),
    Template("textual_inversion", "Textual inversion", "A learned word in the prompt.",
             (SD1_MODEL, Model(WORD, "any textual inversion of SD 1", "embeddings")),
             text_to_image(SD1, 512, CAT, f"blurry, embedding:{WORD}")),
    Template("textual_inversion_sdxl", "Textual inversion for SDXL", "A learned word for both text encoders, in one file.",
             (XL_MODEL, Model(WORD_XL, "any textual inversion of SDXL", "embeddings")),
             text_to_image(XL, 1024, CAT, f"blurry, embedding:{WORD_XL}", cfg=5.0)),
)  # fmt: skip
