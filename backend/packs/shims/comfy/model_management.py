"""`comfy.model_management`: where things compute. What lies on the device is the pool's business; packs may ask and may wait."""

from __future__ import annotations

import gc
import os
import platform
from enum import Enum
from typing import Any

import torch

from backend.base.errors import Interrupted
from backend.nn.eight import multiplies
from backend.packs.host import HOST


class VRAMState(Enum):
    DISABLED = 0
    NO_VRAM = 1
    LOW_VRAM = 2
    NORMAL_VRAM = 3
    HIGH_VRAM = 4
    SHARED = 5


class CPUState(Enum):
    GPU = 0
    CPU = 1
    MPS = 2


OOM_EXCEPTION = torch.cuda.OutOfMemoryError
InterruptProcessingException = Interrupted
DISABLE_SMART_MEMORY = False
current_loaded_models: list[Any] = []
lowvram_available = True
xpu_available = False
XFORMERS_IS_AVAILABLE = False
EXTRA_RESERVED_VRAM = 0


def __getattr__(name: str) -> Any:
    if name == "vram_state":
        return VRAMState.DISABLED if _is("cpu") else VRAMState.NORMAL_VRAM
    if name == "cpu_state":
        return CPUState.CPU if _is("cpu") else CPUState.MPS if _is("mps") else CPUState.GPU
    if name in ("total_vram", "total_ram"):
        return (get_total_memory() if name == "total_vram" else _ram("SC_PHYS_PAGES")) / 2**20
    if not name.startswith("__"):
        HOST.want(f"comfy.model_management.{name}")
    raise AttributeError(f"module 'comfy.model_management' has no attribute {name!r} here", name=name)


def _ram(pages: str) -> int:
    """Bytes of the machine's memory; 8 GiB where the system does not say."""
    names = getattr(os, "sysconf_names", {})
    return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") if pages in names else 8 << 30


def get_torch_device() -> Any:
    pool = getattr(HOST.services, "pool", None)
    return torch.device("cpu") if pool is None else pool.device


def _is(kind: str) -> bool:
    return get_torch_device().type == kind


def get_torch_device_name(device: Any) -> str:
    if hasattr(device, "type") and device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)} : native"
    return str(getattr(device, "type", device))


def get_all_torch_devices(exclude_current: bool = False) -> list[Any]:
    return [] if exclude_current else [get_torch_device()]


def intermediate_device() -> Any:
    return torch.device("cpu")


def _device(*args: Any, **kwargs: Any) -> Any:
    return get_torch_device()


def _cpu(*args: Any, **kwargs: Any) -> Any:
    return torch.device("cpu")


unet_offload_device = text_encoder_offload_device = vae_offload_device = _cpu
unet_inital_load_device = text_encoder_initial_device = text_encoder_device = vae_device = _device


def _dtype(part: str) -> Any:
    facts, settings = getattr(HOST.services, "device", None), getattr(HOST.services, "settings", None)
    return torch.float32 if facts is None else facts.compute_dtype(part, settings)


def unet_dtype(device: Any = None, model_params: int = 0, supported_dtypes: Any = None, weight_dtype: Any = None) -> Any:
    return _dtype("unet")


def unet_manual_cast(weight_dtype: Any, inference_device: Any, supported_dtypes: Any = None) -> Any:
    """None where the weights compute as they are."""
    want = _dtype("unet")
    return None if weight_dtype == want else want


def text_encoder_dtype(device: Any = None) -> Any:
    return _dtype("text_encoder")


def vae_dtype(device: Any = None, allowed_dtypes: Any = None) -> Any:
    return _dtype("vae")


def should_use_fp16(device: Any = None, model_params: int = 0, prioritize_performance: bool = True, manual_cast: bool = False) -> bool:
    return _dtype("unet") == torch.float16 or (device is not None and getattr(device, "type", "") == "cuda")


def should_use_bf16(device: Any = None, model_params: int = 0, prioritize_performance: bool = True, manual_cast: bool = False) -> bool:
    return _dtype("unet") == torch.bfloat16


def supports_dtype(device: Any, dtype: Any) -> bool:
    return dtype == torch.float32 or not is_device_cpu(device) or dtype == torch.bfloat16


def supports_cast(device: Any, dtype: Any) -> bool:
    return True


def supports_fp8_compute(device: Any = None) -> bool:
    return multiplies(torch.device(device) if device is not None else get_torch_device())


def pick_weight_dtype(dtype: Any, fallback_dtype: Any, device: Any = None) -> Any:
    return fallback_dtype if dtype is None else dtype


def maximum_vram_for_weights(device: Any = None) -> float:
    return get_total_memory(device) * 0.88


def load_models_gpu(
    models: Any,
    memory_required: int = 0,
    force_patch_weights: bool = False,
    minimum_memory_required: Any = None,
    force_full_load: bool = False,
) -> None:
    """Models of packs' own making are moved; ours come when they run."""
    for model in models:
        if hasattr(model, "patch_model") and getattr(model, "base", None) is None:
            model.patch_model(model.load_device)
            if model not in current_loaded_models:
                current_loaded_models.append(model)


def load_model_gpu(model: Any) -> None:
    load_models_gpu([model])


def loaded_models(only_currently_used: bool = False) -> list[Any]:
    return list(current_loaded_models)


def free_memory(memory_required: float, device: Any, keep_loaded: Any = (), **kwargs: Any) -> list[Any]:
    pool = HOST.services.pool
    if pool.room() < memory_required:
        pool.free()
    return []


def unload_all_models() -> None:
    for model in current_loaded_models:
        model.model.to("cpu")
    current_loaded_models.clear()
    HOST.services.pool.free()


def unload_model_clones(model: Any, unload_weights_only: bool = True, force_unload: bool = True) -> None:
    return None


def cleanup_models(keep_clone_weights_loaded: bool = False) -> None:
    return None


cleanup_models_gc = cleanup_models


def soft_empty_cache(force: bool = False) -> None:
    gc.collect()
    if _is("cuda"):
        torch.cuda.empty_cache()


def get_total_memory(dev: Any = None, torch_total_too: bool = False) -> Any:
    dev = get_torch_device() if dev is None else torch.device(dev)
    total = torch.cuda.get_device_properties(dev).total_memory if dev.type == "cuda" else _ram("SC_PHYS_PAGES")
    return (total, total) if torch_total_too else total


def get_free_memory(dev: Any = None, torch_free_too: bool = False) -> Any:
    dev = get_torch_device() if dev is None else torch.device(dev)
    if dev.type == "cuda":
        free, _ = torch.cuda.mem_get_info(dev)
        cached = torch.cuda.memory_reserved(dev) - torch.cuda.memory_allocated(dev)
        return (free + cached, cached) if torch_free_too else free + cached
    free = _ram("SC_AVPHYS_PAGES")
    return (free, free) if torch_free_too else free


def minimum_inference_memory() -> int:
    return 1 << 30


def extra_reserved_memory() -> int:
    return 0


def dtype_size(dtype: Any) -> int:
    return dtype.itemsize


def module_size(module: Any) -> int:
    return sum(t.nelement() * t.element_size() for t in module.state_dict().values())


def use_more_memory(extra_memory: Any, loaded_models: Any, device: Any) -> None:
    return None


def device_supports_non_blocking(device: Any) -> bool:
    return getattr(device, "type", "") == "cuda"


def force_channels_last() -> bool:
    return False


def cast_to(weight: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False, copy: bool = False, stream: Any = None) -> Any:
    return weight.to(dtype=dtype, device=device, non_blocking=non_blocking, copy=copy)


def cast_to_device(tensor: Any, device: Any, dtype: Any, copy: bool = False) -> Any:
    return tensor.to(device=device, dtype=dtype, copy=copy)


def is_device_type(device: Any, type: str) -> bool:
    return getattr(device, "type", device) == type


def is_device_cpu(device: Any) -> bool:
    return is_device_type(device, "cpu")


def is_device_mps(device: Any) -> bool:
    return is_device_type(device, "mps")


def is_device_cuda(device: Any) -> bool:
    return is_device_type(device, "cuda")


def is_device_xpu(device: Any) -> bool:
    return is_device_type(device, "xpu")


def cpu_mode() -> bool:
    return _is("cpu")


def mps_mode() -> bool:
    return _is("mps")


def is_nvidia() -> bool:
    return _is("cuda") and torch.version.cuda is not None


def is_amd() -> bool:
    return _is("cuda") and torch.version.hip is not None


def is_intel_xpu() -> bool:
    return _is("xpu")


def is_ascend_npu() -> bool:
    return _is("npu")


def is_mlu() -> bool:
    return False


def is_directml_enabled() -> bool:
    return False


def is_wsl() -> bool:
    return "microsoft" in platform.uname().release.lower()


def directml_enabled() -> bool:
    return False


def get_autocast_device(dev: Any) -> str:
    return getattr(dev, "type", "cuda")


def xformers_enabled() -> bool:
    return False


def xformers_enabled_vae() -> bool:
    return False


def sage_attention_enabled() -> bool:
    return False


def flash_attention_enabled() -> bool:
    return False


def pytorch_attention_enabled() -> bool:
    return True


def pytorch_attention_enabled_vae() -> bool:
    return True


def pytorch_attention_flash_attention() -> bool:
    return _is("cuda")


def force_upcast_attention_dtype() -> Any:
    return None


def interrupt_current_processing(value: bool = True) -> None:
    HOST.interrupted.set() if value else HOST.interrupted.clear()


def processing_interrupted() -> bool:
    return HOST.interrupted.is_set() or HOST.context().cancelled()


def throw_exception_if_processing_interrupted() -> None:
    if HOST.interrupted.is_set():
        HOST.interrupted.clear()
        raise Interrupted
    HOST.context().check()


class LoadedModel:
    """A model that is on the device."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device = model.load_device
