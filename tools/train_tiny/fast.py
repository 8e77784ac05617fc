"""GroupNorm and attention made quick for training on a CPU.

torch's backwards for both are many times slower than they need be: that of channels-last bf16 norms takes longer than all convolutions
together, and that of fused attention with heads this small longer than everything else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from backend.encoders.clip.net import SelfAttention
from backend.nn.blocks import Attention
from backend.nn.layers import GroupNorm


class _Norm(torch.autograd.Function):
    """Group normalisation of a channels-last [B, C, H, W] as per-(image, channel) multiply-adds and four sums."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        batch, channels = x.shape[:2]
        flat = x.permute(0, 2, 3, 1).reshape(batch, -1, channels)
        count = flat.shape[1] * (channels // groups)
        first = flat.sum(1, dtype=torch.float32).view(batch, groups, -1).sum(2) / count
        second = (flat * flat).sum(1, dtype=torch.float32).view(batch, groups, -1).sum(2) / count
        inverse = (second - first * first).clamp_min(0).add(eps).rsqrt()
        each = channels // groups
        mean_c, inverse_c = first.repeat_interleave(each, 1), inverse.repeat_interleave(each, 1)
        scale = inverse_c * weight.float()
        shift = bias.float() - mean_c * scale
        ctx.save_for_backward(flat, weight, mean_c, inverse_c)
        ctx.groups, ctx.shape = groups, x.shape
        out = torch.addcmul(shift.to(x.dtype).unsqueeze(1), flat, scale.to(x.dtype).unsqueeze(1))
        return out.view(batch, x.shape[2], x.shape[3], channels).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        flat, weight, mean, inverse = ctx.saved_tensors
        batch, channels, height, width = ctx.shape
        groups, each = ctx.groups, channels // ctx.groups
        dy = grads[0].to(flat.dtype).permute(0, 2, 3, 1).reshape(batch, -1, channels)
        count = flat.shape[1] * each
        sum_dy = dy.sum(1, dtype=torch.float32)
        sum_dyx = (dy * flat).sum(1, dtype=torch.float32)
        sum_dyn = (sum_dyx - mean * sum_dy) * inverse  # sum of dy * normalised x
        w = weight.float()
        a = (sum_dy * w).view(batch, groups, -1).sum(2).div(count).repeat_interleave(each, 1)
        b = (sum_dyn * w).view(batch, groups, -1).sum(2).div(count).repeat_interleave(each, 1)
        # dx = inverse * (w dy - a - b * (x - mean) * inverse)
        on_x = -b * inverse * inverse
        on_one = -a * inverse - on_x * mean
        dx = torch.addcmul(on_one.to(flat.dtype).unsqueeze(1), dy, (w * inverse).to(flat.dtype).unsqueeze(1))
        dx = dx.addcmul_(flat, on_x.to(flat.dtype).unsqueeze(1))
        grad_w, grad_b = sum_dyn.sum(0).to(weight.dtype), sum_dy.sum(0).to(weight.dtype)
        return dx.view(batch, height, width, channels).permute(0, 3, 1, 2), grad_w, grad_b, None, None


class FastGroupNorm(GroupNorm):
    """The same layer with the same parameters, for training only (never reads slots)."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Norm.apply(x, self.weight, self.bias, self.groups, self.eps)  # type: ignore[no-untyped-call]
        return out


def plain_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """As backend.nn.attention.attention (`mask`: bool, True takes part), written out so that autograd goes through plain products."""
    batch, length, width = q.shape
    qh, kh, vh = (x.view(batch, -1, heads, width // heads).transpose(1, 2).reshape(batch * heads, -1, width // heads) for x in (q, k, v))
    scores = torch.bmm(qh * (width // heads) ** -0.5, kh.transpose(1, 2))
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e4)
    out = torch.bmm(scores.softmax(-1), vh)
    return out.view(batch, heads, length, -1).transpose(1, 2).reshape(batch, length, width)


class FastAttention(Attention):
    """The UNet's attention, for training only."""

    def forward(self, x: Tensor, context: Tensor, value: Tensor | None = None) -> Tensor:
        v = self.to_v(context if value is None else value)
        out: Tensor = self.to_out[0](plain_attention(self.to_q(x), self.to_k(context), v, self.heads))
        return out


class FastSelfAttention(SelfAttention):
    """The text encoder's attention, for training only."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self.out_proj(plain_attention(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.heads, mask))
        return out


FAST: dict[type[nn.Module], type[nn.Module]] = {GroupNorm: FastGroupNorm, Attention: FastAttention, SelfAttention: FastSelfAttention}


def speed_up(net: nn.Module) -> nn.Module:
    """Turn the slow layers of `net` into the training ones and lay its convolutions out channels-last, in place."""
    for module in net.modules():
        if type(module) in FAST:
            module.__class__ = FAST[type(module)]
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
