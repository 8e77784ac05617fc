"""Families and file kinds that are known by sight and cannot be loaded as a diffusion model here: so that a message can name them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backend.weights.file import Header

PREFIX = "model.diffusion_model."


@dataclass(frozen=True)
class Known:
    """What a file is, in words that complete "it is ...", and how it is told."""

    what: str
    matches: Callable[[Header], bool]
    family: bool = True
    """False for files that are no diffusion model at all."""


def _key(*keys: str) -> Callable[[Header], bool]:
    """Any of the keys, with or without the prefix of checkpoints."""
    return lambda header: any(start + key in header for key in keys for start in ("", PREFIX))


def _any(*pieces: str) -> Callable[[Header], bool]:
    return lambda header: any(piece in key for key in header for piece in pieces)


def _alone(*keys: str) -> Callable[[Header], bool]:
    """Any of the keys, in a file without a diffusion net."""
    return lambda header: any(key in header for key in keys) and not any(key.startswith(PREFIX) for key in header)


def _context(width: int, labelled: bool) -> Callable[[Header], bool]:
    """A UNet with a text context of this width and with or without a vector condition."""

    def matches(header: Header) -> bool:
        label = any("label_emb.0.0.weight" in key or "add_embedding.linear_1.weight" in key for key in header)
        found = next((e.shape[1] for k, e in header.items() if k.endswith(".attn2.to_k.weight") and len(e.shape) == 2), None)
        unet = any("input_blocks.0.0.weight" in key or "down_blocks.0.resnets.0.conv1.weight" in key for key in header)
        return unet and label == labelled and found == width

    return matches


KNOWN = (
    Known("a ControlNet-LLLite", lambda header: any(key.startswith("lllite_") for key in header), family=False),
    Known("a ControlNet", _any("control_model.", "controlnet_cond_embedding.", "input_hint_block.", "controlnet_blocks."), family=False),
    Known("a LoRA", _any(".lora_up.", ".lora_down.", ".lora_A.", ".lora_B.", ".hada_w1_", ".lokr_w1"), family=False),
    Known("a SAM 3 model", _any("detector.backbone.vision_backbone.", "detector_model.detr_decoder.")),
    Known("a Segment Anything 1 or 2 model, which knows no words", _any("mask_decoder.iou_token.weight"), family=False),
    Known("a Stable Video Diffusion model", _any(".time_stack.", ".time_mixer.")),
    Known("an AnimateDiff motion module", _any("motion_modules."), family=False),
    Known("a Kolors model", _any("encoder_hid_proj.")),
    Known("an SDXL model", _context(2048, True)),
    Known("an SDXL refiner", _context(1280, True)),
    Known("an SD 2 unCLIP model", _context(1024, True)),
    Known("an SD 2 model", _context(1024, False)),
    Known("an SD 3 model", _key("joint_blocks.0.context_block.attn.qkv.weight", "transformer_blocks.0.attn.add_q_proj.weight")),
    Known("a Chroma model", _key("distilled_guidance_layer.0.norms.0.scale", "distilled_guidance_layer.norms.0.scale")),
    Known("a Flux model", _key("double_blocks.0.img_attn.norm.key_norm.scale")),
    Known("a Stable Cascade model", _key("clip_txt_mapper.weight", "clip_mapper.weight")),
    Known("an AuraFlow model", _key("double_layers.0.attn.w1q.weight")),
    Known("a PixArt model", _key("t_block.1.weight")),
    Known("a HunyuanDiT model", _key("mlp_t5.0.weight")),
    Known("a Hunyuan Video model", _key("txt_in.individual_token_refiner.blocks.0.norm1.weight")),
    Known("a Wan model", _key("head.modulation")),
    Known("a Lumina 2 model", _key("cap_embedder.1.weight")),
    Known("a Qwen-Image model", _key("txt_norm.weight")),
    Known("a Mochi model", _key("t5_yproj.weight")),
    Known("an LTX-Video model", _key("adaln_single.emb.timestep_embedder.linear_1.bias")),
    Known("a HiDream model", _key("caption_projection.0.linear.weight")),
    Known("a Cosmos model", _key("blocks.block0.blocks.0.block.attn.to_q.0.weight", "blocks.0.self_attn.q_norm.weight")),
    Known("a VAE", _alone("decoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight"), family=False),
    Known("a text encoder", _alone("text_model.encoder.layers.0.mlp.fc1.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"), False),
    Known("a textual inversion", _alone("emb_params", "string_to_param.*", "clip_l", "clip_g"), family=False),
)


def name_of(header: Header) -> Known | None:
    """What this file seems to be, or None."""
    return next((known for known in KNOWN if known.matches(header)), None)
