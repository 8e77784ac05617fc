"""Kinds of models in the words of messages: what an adapter was made for, and what the model in hand is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

UNETS = {
    (768, False): "SD 1.x",
    (1024, False): "SD 2.x",
    (1024, True): "SD 2.x unCLIP",
    (1280, True): "the SDXL refiner",
    (2048, True): "SDXL",
}
"""UNets by the width of the text they read and whether they have a vector condition."""


def of_unet(context: int, vector: bool) -> str:
    """A UNet in words."""
    return UNETS.get((context, vector)) or f"a UNet that reads text {context} wide"


TEXTS = {768: "SD 1.x", 1024: "SD 2.x", 1280: "the SDXL refiner", 2048: "SDXL"}
"""UNets by the width of the text they read alone."""
SIGNS = (
    (("double_stream_blocks",), "HiDream"),
    (("txtfusion", "text_fusion"), "Krea 2"),
    (("attn.proj_qkv", "attn_proj_qkv"), "SeedVR2"),
    (("perceiver.", "cross_attn_gate"), "Fibo 2"),
    (("adaln_modulation_self_attn", "self_attn.output_proj", "self_attn_output_proj", "llm_adapter"), "Anima or Cosmos Predict 2"),
    (("adaln_modulation",), "Ideogram 4"),
    (("context_refiner", "noise_refiner", "attention.qkv"), "Z-Image or Lumina 2"),
    (("single_blocks", "single_transformer_blocks"), "Flux"),
    (("img_mlp.gate", "img_mlp_gate"), "Qwen Image 2.1"),
    (("img_mod.1", "img_mod_1", "img_mlp.net", "img_mlp_net", "txt_mlp.net", "txt_mlp_net"), "Qwen Image"),
    (("attn2.add_k_proj", "attn2_add_k_proj", "vace_blocks", ".ffn.net.", "_ffn_net_"), "Wan"),
    (("joint_blocks", "add_k_proj"), "SD 3"),
    (("lora_prior_",), "Stable Cascade"),
    (("cross_attn", "_ffn_"), "Wan"),
    (("lora_te2_", "text_encoder_2."), "SDXL"),
    (("input_blocks", "down_blocks", "output_blocks", "up_blocks"), "a UNet model"),
)
"""Names that occur in adapters of one family only."""


def of_adapter(modules: Sequence[str], context: int | None) -> str:
    """What a LoRA was made for, by the modules it names and the width of the text that its cross-attentions read, where it has some."""
    if context in TEXTS:
        return TEXTS[context]
    for signs, name in SIGNS:
        if any(sign in module for sign in signs for module in modules):
            return name
    return "another kind of model"


def of_handle(handle: Any) -> str:
    """A model in words, or what a text encoder encodes for."""
    sizes = getattr(handle, "sizes", None)
    known = UNETS.get((getattr(sizes, "context", 0), getattr(sizes, "adm", None) is not None))
    if known is not None:
        return known
    family = getattr(handle, "family", None)
    return str(family.name) if family is not None else "of another kind"
