"""Layers that remember in a matrix instead of all tokens: gated delta networks (Yang, Kautz and Hatamizadeh 2024, arXiv:2412.06464)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.encoders.lm.sizes import DeltaSizes
from backend.nn.layers import Layer, Linear, RMSNorm

CHUNK = 64
"""Tokens worked through at once."""
State = tuple[Tensor, Tensor]
"""(the last tokens before the convolution [B, channels, kernel - 1], what is remembered [B, heads, key, value])."""


class GatedDelta(Layer):
    """x [B, T, width] -> [B, T, width]; `state` is what was before, and a new one comes back."""

    def __init__(self, width: int, sizes: DeltaSizes, eps: float) -> None:
        super().__init__()
        self.sizes = sizes
        keys, values = sizes.key_heads * sizes.key, sizes.value_heads * sizes.value
        self.in_proj_qkv, self.in_proj_z = Linear(width, 2 * keys + values, bias=False), Linear(width, values, bias=False)
        self.in_proj_a, self.in_proj_b = (Linear(width, sizes.value_heads, bias=False) for _ in range(2))
        self.conv1d = ChannelConv(2 * keys + values, sizes.kernel)
        self.dt_bias, self.A_log = (nn.Parameter(torch.empty(sizes.value_heads)) for _ in range(2))
        self.norm = RMSNorm(sizes.value, eps)
        self.out_proj = Linear(values, width, bias=False)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        s = self.sizes
        mixed = self.in_proj_qkv(x).transpose(1, 2)
        tail = mixed.new_zeros(*mixed.shape[:2], s.kernel - 1) if state is None else state[0]
        mixed = torch.cat([tail, mixed], dim=2)
        keys, values = s.key_heads * s.key, s.value_heads * s.value
        q, k, v = torch.split(F.silu(self.conv1d(mixed)).transpose(1, 2), [keys, keys, values], dim=-1)
        q, k = (F.normalize(part.reshape(*part.shape[:2], -1, s.key).float(), dim=-1, eps=1e-6) for part in (q, k))
        q, k = (part.repeat_interleave(s.value_heads // s.key_heads, dim=2).transpose(1, 2) for part in (q, k))
        v = v.reshape(*v.shape[:2], -1, s.value).float().transpose(1, 2)
        decay = -self.get("A_log", x).float().exp() * F.softplus(self.in_proj_a(x).float() + self.get("dt_bias", x).float())
        rate = self.in_proj_b(x).float().sigmoid()
        out, kept = delta_rule(q, k, v, decay.transpose(1, 2), rate.transpose(1, 2), None if state is None else state[1])
        out = self.norm(out.transpose(1, 2).to(x.dtype))
        out = out * F.silu(self.in_proj_z(x).reshape(out.shape).float()).to(x.dtype)
        return self.out_proj(out.flatten(2)), (mixed[..., -(s.kernel - 1) :], kept)


class ChannelConv(Layer):
    """A convolution along the text, each channel on its own; [B, channels, T + kernel - 1] -> [B, channels, T]."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.get("weight", x), groups=x.shape[1])


def delta_rule(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, rate: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """S <- e^decay S, then S <- S + rate k (v - S^T k)^T, read by q / sqrt(key): (what was read [B, H, T, value], S).

    q and k [B, H, T, key] of length one, v [B, H, T, value], decay (at most 0) and rate [B, H, T], float32. A stretch of tokens at once:
    what its tokens write depends on each other by a triangular system (section 3.3 there).
    """
    s = v.new_zeros(*k.shape[:2], k.shape[3], v.shape[3]) if state is None else state
    q = q * q.shape[-1] ** -0.5
    out = torch.empty_like(v)
    for begin in range(0, q.shape[2], CHUNK):
        here = slice(begin, min(begin + CHUNK, q.shape[2]))
        qc, kc, vc, b = q[:, :, here], k[:, :, here], v[:, :, here], rate[:, :, here, None]
        total = decay[:, :, here].cumsum(-1)
        between = (total.unsqueeze(-1) - total.unsqueeze(-2)).tril().exp().tril()
        system = (kc * b) @ kc.transpose(-1, -2) * between
        told = b * (vc - total.exp().unsqueeze(-1) * (kc @ s))
        new = torch.linalg.solve_triangular(system, told, upper=False, unitriangular=True)
        out[:, :, here] = total.exp().unsqueeze(-1) * (qc @ s) + (qc @ kc.transpose(-1, -2) * between) @ new
        left = (total[..., -1:] - total).exp().unsqueeze(-1)
        s = total[..., -1, None, None].exp() * s + (kc * left).transpose(-1, -2) @ new
    return out, s
