"""Graphs with language models: what they tell image models, and what they write."""

from __future__ import annotations

from tools.templates.parts import SD1, SD1_MODEL, Graph, Model, Template, node, picture, sampled, saved, text_to_image

LUMINA = "lumina_2.safetensors"
QWEN = "qwen_3_4b.safetensors"
SEEING = "qwen3vl_4b.safetensors"
TOLD = (
    "Write one vivid description of a picture, in English, no longer than eighty words: subject, place, light, colours, style."
    " Answer with it alone."
)


def lumina() -> Graph:
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=LUMINA),
        "2": node(
            "CLIPTextEncodeLumina2", "Prompt", system_prompt="superior", user_prompt="a lighthouse in a storm, oil painting", clip=["1", 1]
        ),
        "3": node("CLIPTextEncode", "Negative prompt", text="blurry", clip=["1", 1]),
        "l": node("EmptySD3LatentImage", width=1024, height=1024, batch_size=1),
        "k": sampled(["l", 0], steps=25, cfg=4.0, sampler_name="res_multistep", scheduler="simple"),
        **saved(["k", 0], "lumina2"),
    }


def written(file: str, title: str, **inputs: object) -> Graph:
    """A language model as "w" that writes "g"."""
    choosing = {
        "temperature": 0.7,
        "top_k": 64,
        "top_p": 0.95,
        "min_p": 0.05,
        "repetition_penalty": 1.05,
        "seed": 1,
        "presence_penalty": 0.0,
    }
    chosen = {f"sampling_mode.{name}": value for name, value in choosing.items()}
    return {
        "w": node("CLIPLoader", "Language model", type="stable_diffusion", device="default", clip_name=file),
        "g": node("TextGenerate", title, clip=["w", 0], max_length=200, sampling_mode="on", **chosen, **inputs),
        "p": node("PreviewAny", "What it wrote", source=["g", 0]),
    }


def enlarged() -> Graph:
    """A few words made into a prompt, and the prompt into a picture."""
    graph = text_to_image(SD1, 512, "")
    graph["2"]["inputs"]["text"] = ["g", 0]
    graph["t"] = node("PrimitiveStringMultiline", "The task", value=TOLD)
    return {**graph, **written(QWEN, "A few words, made longer", prompt="a fox in the snow", system_prompt=["t", 0])}


def described() -> Graph:
    """A picture in words, and another picture from them."""
    graph = text_to_image(SD1, 512, "")
    graph["2"]["inputs"]["text"] = ["g", 0]
    return {**graph, "i": picture(), **written(SEEING, "The picture in words", prompt=TOLD, image=["i", 0])}


TEMPLATES = (
    Template(
        "lumina2", "Lumina 2", "Text to image with Lumina Image 2.0, behind the instruction it was trained with.",
        (Model(LUMINA, "Lumina 2"),), lumina(),
    ),
    Template(
        "prompt_enlarged", "A few words made into a prompt", "A language model writes the prompt that a few words stand for.",
        (SD1_MODEL, Model(QWEN, "Qwen 3 4B", "text_encoders")), enlarged(),
    ),
    Template(
        "prompt_from_picture", "A picture in words", "A language model that sees describes a picture; the description makes another.",
        (SD1_MODEL, Model(SEEING, "Qwen 3 VL 4B", "text_encoders")), described(),
    ),
)  # fmt: skip
