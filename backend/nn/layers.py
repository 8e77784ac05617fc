"""The layers every network here is built of. Each asks its slots for weights at forward; there is no other trick.

A net is built on the meta device, and the pool hangs a slot under each parameter name. A net built with real
parameters (training, tests) has no slots and uses its parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn import packed
from backend.weights.slot import Slot


class Layer(nn.Module):
    """A module whose own parameters may come from slots."""

    slots: dict[str, Slot]

    def __init__(self) -> None:
        super().__init__()
        self.slots = {}

    def get(self, name: str, x: Tensor) -> Tensor:
        """The parameter `name`, on the device and in the dtype of `x`."""
        weight = self.ready(name, x)
        return weight.to_dense() if weight.is_mkldnn else weight

    def ready(self, name: str, x: Tensor) -> Tensor:
        """As `get`, but perhaps packed (see `pack`)."""
        slot = self.slots.get(name)
        if slot is not None:
            return slot.fetch(x.device, x.dtype)
        parameter: Tensor = getattr(self, name)
        return parameter.to(x.dtype)

    def pack(self, name: str, weight: Tensor) -> Tensor:
        """`weight` in the layout this layer is fastest with, values unchanged. For a weight that is about to be used many times."""
        return weight

    def multiplies(self, name: str) -> bool:
        """Whether this parameter is used in matrix products only, which may be computed in the bits of its file (see backend.nn.eight)."""
        return False

    def maybe(self, name: str, x: Tensor) -> Tensor | None:
        """As `get`, for a parameter the layer may have been built without (a bias)."""
        return None if getattr(self, name) is None else self.get(name, x)


class Linear(Layer):
    """y = x Wᵀ + b; weight [cout, cin]."""

    def __init__(self, cin: int, cout: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(cout, cin))
        self.bias = nn.Parameter(torch.empty(cout)) if bias else None

    def pack(self, name: str, weight: Tensor) -> Tensor:
        return packed.pack_linear(weight) if name == "weight" else weight

    def multiplies(self, name: str) -> bool:
        return name == "weight"

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.ready("weight", x), self.maybe("bias", x)
        return packed.linear(x, weight, bias) if weight.is_mkldnn else F.linear(x, weight, bias)


class GatedLinear(Linear):
    """y = (x Vᵀ + b) * gelu(x Gᵀ + c) (Shazeer 2020); weight [2 * cout, cin] is V above G, bias b above c."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__(cin, 2 * cout)

    def pack(self, name: str, weight: Tensor) -> Tensor:
        return packed.pack_halves(weight) if name == "weight" else weight

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.ready("weight", x), self.get("bias", x)
        halves = packed.blocks(weight)
        if halves:
            return packed.gated(x, halves[0], halves[1], bias)
        both = packed.linear(x, weight, bias) if weight.is_mkldnn else F.linear(x, weight, bias)
        value, gate = both.chunk(2, dim=-1)
        return value * F.gelu(gate)


class Conv2d(Layer):
    """Square convolution over [B, C, H, W]; weight [cout, cin, k, k]."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.wraps = (False, False)
        """Whether (rows, columns) go on at the opposite border rather than at zeros."""
        self.weight = nn.Parameter(torch.empty(cout, cin, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(cout)) if bias else None

    def pack(self, name: str, weight: Tensor) -> Tensor:
        return packed.pack_conv(weight, self.stride, self.padding) if name == "weight" else weight

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.ready("weight", x), self.maybe("bias", x)
        if any(self.wraps) and self.padding:
            weight = weight.to_dense() if weight.is_mkldnn else weight
            return F.conv2d(self._wrapped(x), weight, bias, self.stride)
        matrices = packed.blocks(weight)
        if matrices:
            return packed.pointwise(x, matrices[0], bias)
        if weight.is_mkldnn:
            return packed.conv2d(x, weight, bias, self.stride, self.padding)
        return F.conv2d(x, weight, bias, self.stride, self.padding)

    def _wrapped(self, x: Tensor) -> Tensor:
        """x with its border: from the other side where `wraps` says so, else zeros."""
        p = self.padding
        for horizontal, wraps in zip((False, True), self.wraps, strict=True):
            x = F.pad(x, (p, p, 0, 0) if horizontal else (0, 0, p, p), mode="circular" if wraps else "constant")
        return x


class GroupNorm(Layer):
    """Normalises each of `groups` channel groups of [B, C, ...]."""

    def __init__(self, groups: int, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.groups, self.get("weight", x), self.get("bias", x), self.eps)


class LayerNorm(Layer):
    """Normalises the last dimension."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.width, self.eps = width, eps
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.width,), self.get("weight", x), self.get("bias", x), self.eps)


class RMSNorm(Layer):
    """Divides the last dimension by its root mean square (Zhang & Sennrich 2019), in float32; weight [width], none with `scaled=False`."""

    def __init__(self, width: int, eps: float = 1e-6, scaled: bool = True) -> None:
        super().__init__()
        self.width, self.eps = width, eps
        self.weight = nn.Parameter(torch.empty(width)) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        weight = self.maybe("weight", x)
        normed = F.rms_norm(x.float(), (self.width,), None, self.eps).to(x.dtype)
        return normed if weight is None else normed * weight


class Embedding(Layer):
    """A table of vectors; weight [rows, width]."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))

    def forward(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """ids [...] -> [..., width] in `dtype`; ids carry no compute dtype of their own, so it is told."""
        return F.embedding(ids, self.get("weight", torch.empty(0, device=ids.device, dtype=dtype)))


def init_weights(net: nn.Module) -> nn.Module:
    """Give a net built with empty parameters torch's usual starting values, in place; for training and tests."""
    for module in net.modules():
        if isinstance(module, (GroupNorm, LayerNorm)):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, RMSNorm):
            if module.weight is not None:
                nn.init.ones_(module.weight)
        elif isinstance(module, (Linear, Conv2d)):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                nn.init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, Embedding):
            nn.init.normal_(module.weight, std=0.02)
    return net
