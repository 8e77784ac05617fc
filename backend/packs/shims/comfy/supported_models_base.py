"""The base of model configurations."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats


class BASE:
    """A published configuration; packs make objects of them to build noise models."""

    unet_config: Any = {}  # noqa: RUF012
    unet_extra_config: Any = {}  # noqa: RUF012
    sampling_settings: Any = {}  # noqa: RUF012
    latent_format: Any = comfy.latent_formats.LatentFormat
    memory_usage_factor = 2.0
    manual_cast_dtype: Any = None

    def __init__(self, unet_config: Any = None) -> None:
        self.unet_config = {**type(self).unet_config, **(unet_config or {})}
        self.sampling_settings = dict(type(self).sampling_settings)
        self.latent_format = type(self).latent_format()

    def model_type(self, state_dict: Any, prefix: str = "") -> Any:
        from comfy.model_base import ModelType

        return ModelType.EPS

    def inpaint_model(self) -> bool:
        return self.unet_config.get("in_channels", 4) > 4
