"""Layer sets that packs build their own nets of: torch's layers without initialisation, and ones that cast as they run."""

from __future__ import annotations

from typing import Any

import torch


def cast_to(weight: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False, copy: bool = False) -> Any:
    return weight.to(dtype=dtype, device=device, non_blocking=non_blocking, copy=copy)


def cast_to_input(weight: Any, input: Any, non_blocking: bool = False, copy: bool = True) -> Any:
    return weight.to(dtype=input.dtype, device=input.device)


def cast_bias_weight(
    s: Any, input: Any = None, dtype: Any = None, device: Any = None, bias_dtype: Any = None, **kwargs: Any
) -> tuple[Any, Any]:
    """(weight, bias) of a layer as its input needs them."""
    if input is not None:
        dtype, device = dtype or input.dtype, device or input.device
    weight = s.weight.to(device=device, dtype=dtype)
    bias = None if s.bias is None else s.bias.to(device=device, dtype=bias_dtype or dtype)
    for f in getattr(s, "weight_function", None) or ():
        weight = f(weight)
    for f in getattr(s, "bias_function", None) or ():
        bias = f(bias)
    return weight, bias


def uncast_bias_weight(s: Any, weight: Any, bias: Any, offload_stream: Any = None) -> None:
    return None


class CastWeightBiasOp:
    comfy_cast_weights = False
    weight_function: Any = ()
    bias_function: Any = ()


def _plain(name: str, base: Any) -> Any:
    def reset_parameters(self: Any) -> None:
        return None

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not (self.comfy_cast_weights or len(self.weight_function) or len(self.bias_function)):
            return base.forward(self, *args, **kwargs)
        weight, bias = cast_bias_weight(self, args[0])
        given = {"weight": weight} | ({"bias": bias} if hasattr(self, "bias") else {})
        return torch.func.functional_call(_Forward(self, base), {f"layer.{k}": v for k, v in given.items() if v is not None}, args, kwargs)

    return type(name, (base, CastWeightBiasOp), {"reset_parameters": reset_parameters, "forward": forward})


class _Forward(torch.nn.Module):
    """Runs the base class's forward of a layer."""

    def __init__(self, layer: Any, base: Any) -> None:
        super().__init__()
        self.layer = layer
        self.base = base

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.base.forward(self.layer, *args, **kwargs)


class disable_weight_init:
    """Layers whose weights are left as memory had them: they are loaded right after."""

    Linear = _plain("Linear", torch.nn.Linear)
    Conv1d = _plain("Conv1d", torch.nn.Conv1d)
    Conv2d = _plain("Conv2d", torch.nn.Conv2d)
    Conv3d = _plain("Conv3d", torch.nn.Conv3d)
    ConvTranspose1d = _plain("ConvTranspose1d", torch.nn.ConvTranspose1d)
    ConvTranspose2d = _plain("ConvTranspose2d", torch.nn.ConvTranspose2d)
    GroupNorm = _plain("GroupNorm", torch.nn.GroupNorm)
    LayerNorm = _plain("LayerNorm", torch.nn.LayerNorm)
    RMSNorm = _plain("RMSNorm", torch.nn.RMSNorm)

    class Embedding(torch.nn.Embedding, CastWeightBiasOp):
        def reset_parameters(self) -> None:
            self.bias = None

        def forward(self, input: Any, out_dtype: Any = None) -> Any:
            return super().forward(input) if out_dtype is None else super().forward(input).to(out_dtype)

    @classmethod
    def conv_nd(cls, dims: int, *args: Any, **kwargs: Any) -> Any:
        return {1: cls.Conv1d, 2: cls.Conv2d, 3: cls.Conv3d}[dims](*args, **kwargs)


def _casting(name: str) -> Any:
    base = getattr(disable_weight_init, name)
    return type(name, (base,), {"comfy_cast_weights": True})


class manual_cast(disable_weight_init):
    """The same; weights are cast to the input's dtype and device at each call."""

    Linear = _casting("Linear")
    Conv1d = _casting("Conv1d")
    Conv2d = _casting("Conv2d")
    Conv3d = _casting("Conv3d")
    ConvTranspose1d = _casting("ConvTranspose1d")
    ConvTranspose2d = _casting("ConvTranspose2d")
    GroupNorm = _casting("GroupNorm")
    LayerNorm = _casting("LayerNorm")
    RMSNorm = _casting("RMSNorm")
    Embedding = _casting("Embedding")


def pick_operations(weight_dtype: Any, compute_dtype: Any, load_device: Any = None, disable_fast_fp8: bool = False, **kwargs: Any) -> Any:
    return disable_weight_init if compute_dtype is None or weight_dtype == compute_dtype else manual_cast
