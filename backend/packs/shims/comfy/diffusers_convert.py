"""Weights of diffusers folders under the names of single files."""

from __future__ import annotations

from typing import Any

import torch

from backend.codecs.kl.spec import find
from backend.encoders.clip.openclip import to_openclip
from backend.families.sd.names import from_diffusers
from backend.weights.keymap import MappedNames
from comfy.diffusers_load import load_diffusers
from comfy.lora import StateDict

__all__ = [
    "convert_text_enc_state_dict", "convert_text_enc_state_dict_v20", "convert_unet_state_dict", "convert_vae_state_dict", "load_diffusers"
]  # fmt: skip


def convert_unet_state_dict(unet_state_dict: Any) -> dict[str, Any]:
    """A UNet's weights, named as in single files without their prefix."""
    return {name: unet_state_dict[key] for name, key in from_diffusers(unet_state_dict).items()}


def convert_vae_state_dict(vae_state_dict: Any) -> dict[str, Any]:
    """An autoencoder's weights, named and shaped as in single files without their prefix."""
    file = StateDict(vae_state_dict)
    mapped = MappedNames(file, find(file))
    return {name: mapped.tensor(name) for name in mapped}


def convert_text_enc_state_dict(text_enc_dict: Any) -> dict[str, Any]:
    """CLIP-L has the same names in both."""
    return dict(text_enc_dict)


def convert_text_enc_state_dict_v20(text_enc_dict: Any, prefix: str = "") -> dict[str, Any]:
    """OpenCLIP's weights under the names of single files: queries, keys and values of a layer as one."""
    made = {}
    for name, parts in to_openclip(text_enc_dict).items():
        tensors = [text_enc_dict[key].T if turned else text_enc_dict[key] for key, turned in parts]
        made[prefix + name] = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
    return made
