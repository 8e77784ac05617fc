"""What a state dict holds."""

from __future__ import annotations

from typing import Any


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


def convert_config(unet_config: Any) -> Any:
    return dict(unet_config)
