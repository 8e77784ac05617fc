"""Graphs that say things in other ways: words weighed, prompts for regions and for parts of sampling, LoRAs by schedule."""

from __future__ import annotations

from tools.templates.parts import CAT, SD1, SD1_MODEL, Graph, Model, Template, node, text_to_image
from tools.templates.with_adapters import LOOK, OTHER

LONG = (
    "a (photograph:1.2) of a ginger cat asleep on an old stone wall in a cottage garden, (morning light:1.3), dew on the grass, [fence], "
    "foxgloves and lavender behind it, a wheelbarrow with watering cans, a gravel path that leads to a blue door, thin mist over the "
    "orchard, distant hills, ((shallow depth of field)), fine grain, soft colours, taken with an old lens at an open aperture"
)


def regions() -> Graph:
    """One prompt for all, one for the left, one for the right."""
    graph = text_to_image(SD1, 512, "a wide landscape, watercolour")
    told = "2"
    for id, text, x in (("a", "a snowy mountain", 0.0), ("b", "a stormy sea", 0.5)):
        graph[f"{id}t"] = node("CLIPTextEncode", text=text, clip=["1", 1])
        graph[id] = node("ConditioningSetAreaPercentage", conditioning=[f"{id}t", 0], width=0.5, height=1.0, x=x, y=0.0, strength=1.0)
        graph[f"{id}c"] = node("ConditioningCombine", conditioning_1=[told, 0], conditioning_2=[id, 0])
        told = f"{id}c"
    graph["k"]["inputs"]["positive"] = [told, 0]
    return graph


def in_turn() -> Graph:
    """A prompt for the composition, another for the detail."""
    graph = text_to_image(SD1, 512, "a castle on a hill")
    graph["t"] = node("CLIPTextEncode", "Prompt for the detail", text="a castle made of glass", clip=["1", 1])
    graph["a"] = node("ConditioningSetTimestepRange", conditioning=["2", 0], start=0.0, end=0.3)
    graph["b"] = node("ConditioningSetTimestepRange", conditioning=["t", 0], start=0.3, end=1.0)
    graph["c"] = node("ConditioningCombine", conditioning_1=["a", 0], conditioning_2=["b", 0])
    graph["k"]["inputs"]["positive"] = ["c", 0]
    return graph


def hooked() -> Graph:
    """A LoRA for the positive prompt alone, which fades in."""
    graph = text_to_image(SD1, 512, CAT)
    graph["h"] = node("CreateHookLora", lora_name=LOOK, strength_model=1.0, strength_clip=1.0)
    graph["f"] = node("CreateHookKeyframesInterpolated", strength_start=0.0, strength_end=1.0, interpolation="ease_in", start_percent=0.0,
                      end_percent=0.6, keyframes_count=4, print_keyframes=False)  # fmt: skip
    graph["g"] = node("SetHookKeyframes", hooks=["h", 0], hook_kf=["f", 0])
    graph["c"] = node("ConditioningSetProperties", cond_NEW=["2", 0], strength=1.0, set_cond_area="default", hooks=["g", 0])
    graph["k"]["inputs"]["positive"] = ["c", 0]
    return graph


def extracted() -> Graph:
    """What one model has over another, as a LoRA, tried on the other at once."""
    graph = text_to_image(SD1, 512, CAT)
    graph["b"] = node("CheckpointLoaderSimple", "Model to take it from", ckpt_name=OTHER)
    graph["x"] = node("ModelMergeSubtract", model1=["b", 0], model2=["1", 0], multiplier=1.0)
    graph["y"] = node("ModelMergeAdd", model1=["1", 0], model2=["x", 0])
    graph["k"]["inputs"]["model"] = ["y", 0]
    return {**graph, "w": node("LoraSave", model_diff=["x", 0], filename_prefix="loras/extracted", rank=8, lora_type="standard",
                               bias_diff=True)}  # fmt: skip


TEMPLATES = (
    Template("long_prompt", "Long and weighted prompts", "More than 77 tokens, with words that count more or less.", (SD1_MODEL,),
             text_to_image(SD1, 512, LONG, "(blurry:1.2), text")),
    Template("prompt_regions", "Prompts for regions", "Something else on the left than on the right.", (SD1_MODEL,), regions()),
    Template("prompts_in_turn", "Prompts in turn", "One prompt for the composition, another for the detail.", (SD1_MODEL,), in_turn()),
    Template("lora_hook", "LoRA by schedule", "A LoRA for one prompt alone, which fades in while the picture is sampled.",
             (SD1_MODEL, Model(LOOK, "any LoRA of SD 1.5", "loras")), hooked()),
    Template("lora_extract", "Extract a LoRA", "What one model has over another becomes a LoRA, which is saved.",
             (SD1_MODEL, Model(OTHER, "another SD 1.5 model")), extracted()),
)  # fmt: skip
