"""`args`: the command line under the published names."""

from __future__ import annotations

import argparse
import enum
from typing import Any

from backend.packs.host import HOST


class LatentPreviewMethod(enum.Enum):
    NoPreviews = "none"
    Auto = "auto"
    Latent2RGB = "latent2rgb"
    TAESD = "taesd"

    @classmethod
    def from_string(cls, value: str) -> LatentPreviewMethod | None:
        return next((m for m in cls if m.value == value), None)


class PerformanceFeature(enum.Enum):
    Fp16Accumulation = "fp16_accumulation"
    Fp8MatrixMultiplication = "fp8_matrix_mult"
    CublasOps = "cublas_ops"
    AutoTune = "autotune"


class _Args(argparse.Namespace):
    """Published option names; one that means nothing here is off."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _value(HOST.services.settings, name)


def _text(path: Any) -> str | None:
    return None if path is None else str(path)


_VALUES = {
    "listen": lambda s: ",".join(s.listen),
    "port": lambda s: s.port,
    "tls_keyfile": lambda s: _text(s.tls_keyfile),
    "tls_certfile": lambda s: _text(s.tls_certfile),
    "enable_cors_header": lambda s: s.cors_origin,
    "max_upload_size": lambda s: s.max_upload >> 20,
    "base_directory": lambda s: _text(s.base_directory),
    "output_directory": lambda s: _text(s.output_directory),
    "input_directory": lambda s: _text(s.input_directory),
    "temp_directory": lambda s: _text(s.temp_directory),
    "user_directory": lambda s: _text(s.user_directory),
    "disable_metadata": lambda s: s.metadata == "none",
    "cpu": lambda s: s.memory == "cpu",
    "gpu_only": lambda s: s.memory == "gpu-only",
    "highvram": lambda s: s.memory == "high",
    "normalvram": lambda s: s.memory == "normal",
    "lowvram": lambda s: s.memory == "low",
    "novram": lambda s: s.memory == "none",
    "preview_method": lambda s: LatentPreviewMethod.from_string(s.preview_method),
    "preview_size": lambda s: s.preview_size,
    "cuda_device": lambda s: s.cuda_device,
    "deterministic": lambda s: s.deterministic,
    "disable_smart_memory": lambda s: not s.smart_memory,
    "disable_xformers": lambda s: not s.xformers,
    "disable_all_custom_nodes": lambda s: not s.custom_nodes,
    "whitelist_custom_nodes": lambda s: list(s.whitelist),
    "multi_user": lambda s: s.multi_user,
    "verbose": lambda s: s.verbose,
    "force_fp32": lambda s: s.force_dtype == "fp32",
    "force_fp16": lambda s: s.force_dtype == "fp16",
    "cpu_vae": lambda s: s.vae_on_cpu,
    "use_split_cross_attention": lambda s: s.attention == "split",
    "use_quad_cross_attention": lambda s: s.attention == "quad",
    "use_pytorch_cross_attention": lambda s: s.attention in (None, "pytorch"),
    "use_sage_attention": lambda s: s.attention == "sage",
    "use_flash_attention": lambda s: s.attention == "flash",
    "reserve_vram": lambda s: None if s.reserve_vram is None else s.reserve_vram / 2**30,
    "default_hashing_function": lambda s: s.hashing,
    "fast": lambda s: set(s.fast or ()),
}


def _value(settings: Any, name: str) -> Any:
    read = _VALUES.get(name)
    if read is not None:
        return read(settings)
    for dtype in ("fp32", "fp64", "bf16", "fp16", "fp8_e4m3fn", "fp8_e5m2", "fp8_e8m0fnu"):
        for end, field in (("_unet", "unet_dtype"), ("_vae", "vae_dtype"), ("_text_enc", "text_encoder_dtype")):
            if name == dtype + end:
                return getattr(settings, field) == dtype
    HOST.want(f"comfy.cli_args.args.{name}")
    return False


args = _Args()
parser = argparse.ArgumentParser()


def enables_dynamic_vram() -> bool:
    return False
