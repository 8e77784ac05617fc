"""What a state dict holds."""

from __future__ import annotations

from typing import Any

from backend.families.sd.sizes import sizes_by_head, sizes_of
from comfy.diffusers_convert import convert_unet_state_dict
from comfy.lora import StateDict
from comfy.model_base import config_of


def count_blocks(state_dict_keys: Any, prefix_string: str) -> int:
    """How many numbered blocks there are; the prefix has one place for the number."""
    count = 0
    while any(k.startswith(prefix_string.format(count)) for k in state_dict_keys):
        count += 1
    return count


def unet_prefix_from_state_dict(state_dict: Any) -> str:
    for prefix in ("model.diffusion_model.", "model.model.", "net."):
        if any(k.startswith(prefix) for k in state_dict):
            return prefix
    return ""


def detect_unet_config(state_dict: Any, key_prefix: str, metadata: Any = None) -> dict[str, Any] | None:
    """The published configuration of a UNet's weights; None for other nets."""
    file = StateDict({k.removeprefix(key_prefix): v for k, v in state_dict.items() if k.startswith(key_prefix)})
    if "input_blocks.0.0.weight" not in file:
        return None
    sizes = sizes_by_head(file) if sizes_of(file).linear else sizes_of(file)
    return config_of(sizes, file["input_blocks.0.0.weight"].dtype)


def unet_config_from_diffusers_unet(state_dict: Any, dtype: Any = None) -> dict[str, Any] | None:
    """The same of weights under the names of diffusers."""
    if "conv_in.weight" not in state_dict:
        return None
    found = detect_unet_config(convert_unet_state_dict(state_dict), "")
    return found and {**found, "dtype": dtype or found["dtype"]}


def convert_config(unet_config: Any) -> Any:
    return dict(unet_config)
