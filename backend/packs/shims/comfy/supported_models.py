"""Published configurations by name."""

from __future__ import annotations

import comfy.latent_formats
from comfy import supported_models_base


class SD15(supported_models_base.BASE):
    unet_config = {"context_dim": 768, "model_channels": 320, "use_linear_in_transformer": False, "adm_in_channels": None}  # noqa: RUF012
    latent_format = comfy.latent_formats.SD15


class SD20(supported_models_base.BASE):
    unet_config = {"context_dim": 1024, "model_channels": 320, "use_linear_in_transformer": True, "adm_in_channels": None}  # noqa: RUF012
    latent_format = comfy.latent_formats.SD15


class SDXL(supported_models_base.BASE):
    unet_config = {"context_dim": 2048, "model_channels": 320, "use_linear_in_transformer": True, "adm_in_channels": 2816}  # noqa: RUF012
    latent_format = comfy.latent_formats.SDXL


class SDXLRefiner(supported_models_base.BASE):
    unet_config = {"context_dim": 1280, "model_channels": 384, "use_linear_in_transformer": True, "adm_in_channels": 2560}  # noqa: RUF012
    latent_format = comfy.latent_formats.SDXL


class SVD_img2vid(supported_models_base.BASE):
    sampling_settings = {"sigma_max": 700.0, "sigma_min": 0.002}  # noqa: RUF012
    latent_format = comfy.latent_formats.SD15


class SD3(supported_models_base.BASE):
    sampling_settings = {"shift": 3.0}  # noqa: RUF012
    latent_format = comfy.latent_formats.SD3


class Flux(supported_models_base.BASE):
    latent_format = comfy.latent_formats.Flux


class HunyuanDiT(supported_models_base.BASE):
    latent_format = comfy.latent_formats.SDXL


class GenmoMochi(supported_models_base.BASE):
    sampling_settings = {"multiplier": 1.0, "shift": 6.0}  # noqa: RUF012


models = [SD15, SD20, SDXL, SDXLRefiner, SVD_img2vid, SD3, Flux, HunyuanDiT, GenmoMochi]
