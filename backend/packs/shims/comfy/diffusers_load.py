"""Folders in the diffusers layout."""

from __future__ import annotations

from typing import Any


def load_diffusers(
    model_path: Any, output_vae: bool = True, output_clip: bool = True, embedding_directory: Any = None
) -> tuple[Any, Any, Any]:
    from comfy.sd import load_checkpoint_guess_config

    return load_checkpoint_guess_config(model_path, output_vae, output_clip)[:3]
