"""Graphs with adapters: ControlNet, T2I-Adapter, IP-Adapter, GLIGEN, LoRA, hypernetworks, styles, merges."""

from __future__ import annotations

from collections.abc import Sequence
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
    inpainting,
    node,
    picture,
    text_to_image,
)

CANNY, DEPTH, FILL = "control_v11p_sd15_canny.pth", "control_v11f1p_sd15_depth.pth", "control_v11p_sd15_inpaint.pth"
UNION = "controlnet-union-sdxl-1.0.safetensors"
SKETCH, COLOUR = "t2iadapter_sketch_sd14v1.pth", "t2iadapter_color_sd14v1.pth"
IP, IP_PLUS, VISION = "ip-adapter_sd15.safetensors", "ip-adapter-plus_sd15.safetensors", "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"
IP_XL = "ip-adapter_sdxl_vit-h.safetensors"
STYLE, STYLE_VISION = "t2iadapter_style_sd14v1.pth", "clip_vision_vit_l.safetensors"
LCM, TCD, LOOK, MOOD = "lcm-lora-sdv1-5.safetensors", "Hyper-SD15-8steps-lora.safetensors", "look.safetensors", "mood.safetensors"
GLIGEN, HYPER, OTHER = "gligen_sd14_textbox_pruned.safetensors", "anime_3.pt", "dreamshaper_8.safetensors"
FAST: dict[str, Any] = {"steps": 8, "cfg": 1.0, "sampler_name": "lcm", "scheduler": "sgm_uniform"}

CANNY_MODEL = Model(CANNY, "ControlNet of SD 1.5, edges", "controlnet")
VISION_MODEL = Model(VISION, "CLIP image encoder ViT-H", "clip_vision")


def controlled(graph: Graph, file: str, image: Sequence[Any], id: str = "c", to: str = "k", **settings: Any) -> Graph:
    """The graph with a control net between the prompts and the sampler."""
    usual = {"strength": 0.8, "start_percent": 0.0, "end_percent": 1.0}
    inputs = graph[to]["inputs"]
    graph = {**graph, f"{id}n": node("ControlNetLoader", control_net_name=file)}
    graph[id] = node("ControlNetApplyAdvanced", positive=inputs["positive"], negative=inputs["negative"], control_net=[f"{id}n", 0],
                     image=list(image), **{**usual, **settings})  # fmt: skip
    inputs |= {"positive": [id, 0], "negative": [id, 1]}
    return graph


def edges(graph: Graph) -> Graph:
    """With a picture as "i" and its edges as "e"."""
    return {**graph, "i": picture(), "e": node("Canny", image=["i", 0], low_threshold=0.4, high_threshold=0.8)}


def canny(side: int = 512, **settings: Any) -> Graph:
    return controlled(edges(text_to_image(SD1, side, CAT, **settings)), CANNY, ("e", 0))


def two_controls() -> Graph:
    graph = controlled(canny(), DEPTH, ("p", 0), "b", strength=0.5, end_percent=0.6)
    return {**graph, "p": picture("How far things are, white is near")}


def guessed() -> Graph:
    graph = controlled(edges(text_to_image(SD1, 512, "", cfg=4.0)), CANNY, ("e", 0), strength=1.0)
    graph["g"] = node("ControlNetGuessMode", control_net=["cn", 0], enabled=True)
    graph["c"]["inputs"]["control_net"] = ["g", 0]
    return graph


def controlled_picture() -> Graph:
    graph = edges(text_to_image(SD1, 512, CAT, denoise=0.7))
    graph["l"] = node("VAEEncode", pixels=["i", 0], vae=["1", 2])
    return controlled(graph, CANNY, ("e", 0))


def filled() -> Graph:
    graph = inpainting("sd-v1-5-inpainting.ckpt", CAT)
    graph["h"] = node("InpaintPreprocessor", image=["i", 0], mask=["i", 1])
    return controlled(graph, FILL, ("h", 0), "cc", strength=1.0)


def union() -> Graph:
    graph = controlled(edges(text_to_image(XL, 1024, CAT, cfg=5.0)), UNION, ("e", 0))
    graph["u"] = node("SetUnionControlNetType", control_net=["cn", 0])
    graph["u"]["inputs"]["type"] = "canny/lineart/anime_lineart/mlsd"
    graph["c"]["inputs"]["control_net"] = ["u", 0]
    return graph


def outpainted() -> Graph:
    """A picture made wider: the new border is painted by an inpainting model, steered by what is known of it."""
    graph = filled()
    graph["w"] = node("ImagePadForOutpaint", image=["i", 0], left=128, top=0, right=128, bottom=0, feathering=40)
    for key in ("c", "h"):
        graph[key]["inputs"] |= {"pixels" if key == "c" else "image": ["w", 0], "mask": ["w", 1]}
    return graph


def sketched() -> Graph:
    graph = {**text_to_image(SD1, 512, CAT), "i": picture(), "e": node("Scribble", image=["i", 0])}
    return controlled(graph, SKETCH, ("e", 0))


def sketched_and_coloured() -> Graph:
    graph = {**sketched(), "q": node("ColorPreprocessor", image=["i", 0])}
    return controlled(graph, COLOUR, ("q", 0), "b", strength=0.5)


def with_picture(graph: Graph, file: str, id: str = "p", shown: Sequence[Any] = ("i", 0), **settings: Any) -> Graph:
    """The graph with a picture as a prompt between its model and its sampler."""
    usual = {"weight": 0.6, "start_percent": 0.0, "end_percent": 1.0, "layers": "all", "layer_weights": ""}
    graph = {**graph, f"{id}a": node("LoadIPAdapter", ip_adapter_name=file), "v": node("CLIPVisionLoader", clip_name=VISION)}
    if "i" not in graph:
        graph["i"] = picture("Picture as a prompt")
    graph[id] = node("ApplyIPAdapter", model=graph["k"]["inputs"]["model"], ip_adapter=[f"{id}a", 0], clip_vision=["v", 0],
                     image=list(shown), **{**usual, **settings})  # fmt: skip
    graph["k"]["inputs"]["model"] = [id, 0]
    return graph


def two_pictures() -> Graph:
    """One on the left, one on the right."""
    graph = with_picture(text_to_image(SD1, 512, CAT), IP, mask=["left", 0])
    graph = with_picture(graph, IP_PLUS, "q", ("j", 0), mask=["right", 0])
    graph["j"] = picture("Picture for the right half")
    graph["half"] = node("SolidMask", value=1.0, width=32, height=64)
    graph["none"] = node("SolidMask", value=0.0, width=64, height=64)
    for side, x in (("left", 0), ("right", 32)):
        graph[side] = node("MaskComposite", destination=["none", 0], source=["half", 0], x=x, y=0, operation="add")
    return graph


def boxed() -> Graph:
    graph = text_to_image(SD1, 512, "a cat and a ball on a lawn")
    graph["g"] = node("GLIGENLoader", gligen_name=GLIGEN)
    told: list[Any] = ["2", 0]
    for id, text, x in (("a", "a cat", 32), ("b", "a red ball", 320)):
        graph[id] = node("GLIGENTextBoxApply", conditioning_to=told, clip=["1", 1], gligen_textbox_model=["g", 0], text=text, width=160,
                         height=192, x=x, y=256)  # fmt: skip
        told = [id, 0]
    graph["k"]["inputs"]["positive"] = told
    return graph


def between(graph: Graph, id: str, made: dict[str, Any], clip: bool = True) -> Graph:
    """The graph with a node that changes the model, and the text encoder."""
    graph = {**graph, id: made}
    graph["k"]["inputs"]["model"] = [id, 0]
    for key in ("2", "3") if clip else ():
        graph[key]["inputs"]["clip"] = [id, 1]
    return graph


def styled(**settings: Any) -> Graph:
    lora = node("LoraLoader", model=["1", 0], clip=["1", 1], lora_name=LOOK, strength_model=0.8, strength_clip=0.8)
    return between(text_to_image(SD1, 512, CAT, **settings), "o", lora)


def by_block() -> Graph:
    weights = "input: 0.3, middle: 1, output: 1, text: 0.5"
    lora = node("LoraLoaderByBlock", model=["1", 0], clip=["1", 1], lora_name=LOOK, strength_model=1.0, strength_clip=1.0,
                block_weights=weights)  # fmt: skip
    return between(text_to_image(SD1, 512, CAT), "o", lora)


def merged_loras() -> Graph:
    graph = between(text_to_image(SD1, 512, CAT), "o", node("LoraModelLoader", model=["1", 0], lora=["m", 0], strength_model=1.0), False)
    graph |= {"a": node("LoadLoraFile", lora_name=LOOK), "b": node("LoadLoraFile", lora_name=MOOD)}
    graph["m"] = node("LoraMerge", lora1=["a", 0], lora2=["b", 0], weight1=0.8, weight2=0.6, method="ties", rank=0, density=0.5,
                      majority="total", apply_to="weights", seed=0)  # fmt: skip
    graph["w"] = node("SaveLoRANode", lora=["m", 0], prefix="loras/merged")
    return graph


def lcm_lora() -> Graph:
    lora = node("LoraLoaderModelOnly", model=["1", 0], lora_name=LCM, strength_model=1.0)
    return between(text_to_image(SD1, 512, CAT, **FAST), "o", lora, False)


def tcd_lora() -> Graph:
    lora = node("LoraLoaderModelOnly", model=["1", 0], lora_name=TCD, strength_model=1.0)
    graph = between(text_to_image(SD1, 512, CAT), "o", lora, False)
    graph["t"] = node("BasicScheduler", model=["o", 0], scheduler="sgm_uniform", steps=8, denoise=1.0)
    graph["r"] = node("SamplerTCD", eta=0.3)
    graph["k"] = node("SamplerCustom", model=["o", 0], add_noise=True, noise_seed=1, cfg=1.0, positive=["2", 0], negative=["3", 0],
                      sampler=["r", 0], sigmas=["t", 0], latent_image=["l", 0])  # fmt: skip
    return graph


def hyper() -> Graph:
    changed = node("HypernetworkLoader", model=["1", 0], hypernetwork_name=HYPER, strength=0.8)
    return between(text_to_image(SD1, 512, CAT), "h", changed, False)


def in_the_style() -> Graph:
    graph = {**text_to_image(SD1, 512, CAT), "i": picture("Picture of a style"), "m": node("StyleModelLoader", style_model_name=STYLE)}
    graph["v"] = node("CLIPVisionLoader", clip_name=STYLE_VISION)
    graph["o"] = node("CLIPVisionEncode", clip_vision=["v", 0], image=["i", 0], crop="center")
    graph["c"] = node("StyleModelApply", conditioning=["2", 0], style_model=["m", 0], clip_vision_output=["o", 0], strength=1.0,
                      strength_type="multiply")  # fmt: skip
    graph["k"]["inputs"]["positive"] = ["c", 0]
    return graph


def merged_models() -> Graph:
    graph = text_to_image(SD1, 512, CAT)
    graph["b"] = node("CheckpointLoaderSimple", "Second model", ckpt_name=OTHER)
    graph["m"] = node("ModelMergeBlocks", model1=["1", 0], model2=["b", 0], input=0.7, middle=0.5, out=0.3)
    graph["n"] = node("CLIPMergeSimple", clip1=["1", 1], clip2=["b", 1], ratio=0.5)
    for key in ("2", "3"):
        graph[key]["inputs"]["clip"] = ["n", 0]
    graph["k"]["inputs"]["model"] = ["m", 0]
    return {**graph, "w": node("CheckpointSave", model=["m", 0], clip=["n", 0], vae=["1", 2], filename_prefix="checkpoints/merged")}


def guided(graph: Graph) -> Graph:
    """With perturbed-attention guidance."""
    graph["g"] = node("PerturbedAttentionGuidance", model=graph["k"]["inputs"]["model"], scale=3.0)
    graph["k"]["inputs"] |= {"model": ["g", 0], "cfg": 4.0}
    return graph


TEMPLATES = (
    Template("controlnet", "ControlNet", "Follow the edges of a picture.", (SD1_MODEL, CANNY_MODEL), canny()),
    Template("controlnet_two", "Two ControlNets", "Follow the edges of one picture and the depth of another, for a part of sampling.",
             (SD1_MODEL, CANNY_MODEL, Model(DEPTH, "ControlNet of SD 1.5, depth", "controlnet")), two_controls()),
    Template("controlnet_guess", "ControlNet without a prompt", "Guess mode: the edges alone say what to paint.",
             (SD1_MODEL, CANNY_MODEL), guessed()),
    Template("controlnet_image_to_image", "ControlNet from a picture", "Paint a picture again and keep its edges.",
             (SD1_MODEL, CANNY_MODEL), controlled_picture()),
    Template("controlnet_inpainting", "ControlNet inpainting", "Paint anew what a mask selects, with a net that sees what is left.",
             (Model("sd-v1-5-inpainting.ckpt", "Stable Diffusion 1.5 inpainting"), Model(FILL, "ControlNet of SD 1.5, inpainting",
              "controlnet")), filled()),
    Template("outpainting", "Outpainting", "Make a picture wider.",
             (Model("sd-v1-5-inpainting.ckpt", "Stable Diffusion 1.5 inpainting"), Model(FILL, "ControlNet of SD 1.5, inpainting",
              "controlnet")), outpainted()),
    Template("controlnet_union", "ControlNet union for SDXL", "One net for many kinds of pictures.",
             (XL_MODEL, Model(UNION, "union ControlNet of SDXL", "controlnet")), union()),
    Template("controlnet_pag", "ControlNet with perturbed attention", "Edges, and guidance that sharpens structure.",
             (SD1_MODEL, CANNY_MODEL), guided(canny())),
    Template("t2i_adapter", "T2I-Adapter", "Follow a sketch.", (SD1_MODEL, Model(SKETCH, "T2I-Adapter of SD 1, sketches", "controlnet")),
             sketched()),
    Template("t2i_adapter_two", "Two T2I-Adapters", "Follow a sketch and the colours of a picture.",
             (SD1_MODEL, Model(SKETCH, "T2I-Adapter of SD 1, sketches", "controlnet"),
              Model(COLOUR, "T2I-Adapter of SD 1, colours", "controlnet")), sketched_and_coloured()),
    Template("ip_adapter", "IP-Adapter", "A picture as part of the prompt.",
             (SD1_MODEL, Model(IP, "IP-Adapter of SD 1.5", "ipadapter"), VISION_MODEL), with_picture(text_to_image(SD1, 512, CAT), IP)),
    Template("ip_adapter_plus", "IP-Adapter Plus", "A picture as part of the prompt, more closely; the same graph runs Plus Face.",
             (SD1_MODEL, Model(IP_PLUS, "IP-Adapter Plus of SD 1.5", "ipadapter"), VISION_MODEL),
             with_picture(text_to_image(SD1, 512, CAT), IP_PLUS, weight=0.7)),
    Template("ip_adapter_two", "Two IP-Adapters with masks", "One picture for the left half, another for the right.",
             (SD1_MODEL, Model(IP, "IP-Adapter of SD 1.5", "ipadapter"), Model(IP_PLUS, "IP-Adapter Plus of SD 1.5", "ipadapter"),
              VISION_MODEL), two_pictures()),
    Template("ip_adapter_style", "InstantStyle", "The style of a picture, not what it shows.",
             (XL_MODEL, Model(IP_XL, "IP-Adapter of SDXL", "ipadapter"), VISION_MODEL),
             with_picture(text_to_image(XL, 1024, CAT, cfg=5.0), IP_XL, weight=1.0, layers="style")),
    Template("ip_adapter_pag", "IP-Adapter with perturbed attention", "A picture as part of the prompt, and sharper structure.",
             (SD1_MODEL, Model(IP, "IP-Adapter of SD 1.5", "ipadapter"), VISION_MODEL),
             guided(with_picture(text_to_image(SD1, 512, CAT), IP, weight=0.8))),
    Template("gligen", "GLIGEN", "Say what goes into which box.", (SD1_MODEL, Model(GLIGEN, "GLIGEN of SD 1.4", "gligen")), boxed()),
    Template("lora", "LoRA", "Change a model by a small file.", (SD1_MODEL, Model(LOOK, "any LoRA of SD 1.5", "loras")), styled()),
    Template("lora_by_block", "LoRA by block", "A LoRA that counts more where shapes are settled, less elsewhere.",
             (SD1_MODEL, Model(LOOK, "any LoRA of SD 1.5", "loras")), by_block()),
    Template("lora_merge", "Merge LoRAs", "Two LoRAs become one, which is tried and saved.",
             (SD1_MODEL, Model(LOOK, "any LoRA of SD 1.5", "loras"), Model(MOOD, "another LoRA of SD 1.5", "loras")), merged_loras()),
    Template("lcm_lora", "LCM-LoRA", "A picture in eight steps with any model.", (SD1_MODEL, Model(LCM, "LCM-LoRA of SD 1.5", "loras")),
             lcm_lora()),
    Template("tcd_lora", "TCD-LoRA", "A picture in eight steps; eta says how much is drawn anew.",
             (SD1_MODEL, Model(TCD, "Hyper-SD or TCD LoRA of SD 1.5", "loras")), tcd_lora()),
    Template("hypernetwork", "Hypernetwork", "Change what a model reads in the prompt.",
             (SD1_MODEL, Model(HYPER, "any hypernetwork of SD 1", "hypernetworks")), hyper()),
    Template("style_model", "Style model", "The style of a picture as further words.",
             (SD1_MODEL, Model(STYLE, "T2I-Adapter style model of SD 1.4", "style_models"),
              Model(STYLE_VISION, "CLIP-L image encoder", "clip_vision")), in_the_style()),
    Template("model_merge", "Merge models", "Two models become one, block by block; it is tried and saved.",
             (SD1_MODEL, Model(OTHER, "another SD 1.5 model")), merged_models()),
)  # fmt: skip
