"""The two kinds of blocks of Flux and its relatives. Parameter names are those of the published single files.

Prompt and picture keep streams of their own in double blocks and are one stream in single blocks (Labs et al. 2025, arXiv:2506.15742).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import by_head
from backend.nn.layers import Layer, Linear
from backend.nn.modulate import modulated
from backend.nn.rope import Turn, turned

EPS = 1e-6
Shift = Sequence[Tensor]
"""(shift, scale, gate) per use, each [B, 1, width]: six of them for a stream of a double block, three for a single block."""


@dataclass(frozen=True)
class BlockSizes:
    """What double and single blocks are built by."""

    width: int
    heads: int
    hidden: int
    """Of the perceptron."""
    bias: bool = True
    gated: bool = False
    """A perceptron with a SiLU gate, which takes twice its hidden width, instead of one with GELU."""
    own: bool = True
    """Whether a block makes its modulation itself; else it is told."""


class Scale(Layer):
    """Division by the root mean square of the last dimension, and a learnt factor."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (x.shape[-1],), None, EPS).to(x.dtype) * self.get("scale", x)


class QKNorm(nn.Module):
    """Norms of queries and keys, head by head."""

    def __init__(self, head: int) -> None:
        super().__init__()
        self.query_norm, self.key_norm = Scale(head), Scale(head)


def split(qkv: Tensor, heads: int, norm: QKNorm) -> tuple[Tensor, Tensor, Tensor]:
    """[B, T, 3 * width] -> queries and keys, normed, and values, each [B, heads, T, width / heads]."""
    q, k, v = qkv.reshape(*qkv.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
    return norm.query_norm(q), norm.key_norm(k), v


class Attention(nn.Module):
    """The weights of one stream's part in joint attention."""

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__()
        self.qkv = Linear(sizes.width, 3 * sizes.width, sizes.bias)
        self.norm = QKNorm(sizes.width // sizes.heads)
        self.proj = Linear(sizes.width, sizes.width, sizes.bias)


class Modulation(nn.Module):
    """The embedded time [B, width] (behind a SiLU) -> `uses` times (shift, scale, gate), each [B, 1, width]."""

    def __init__(self, width: int, uses: int, bias: bool = True) -> None:
        super().__init__()
        self.uses = uses
        self.lin = Linear(width, 3 * uses * width, bias)

    def forward(self, told: Tensor) -> Shift:
        made: Tensor = self.lin(told)
        return made.unsqueeze(1).chunk(3 * self.uses, dim=-1)


def active(x: Tensor, gated: bool) -> Tensor:
    """What stands between the two layers of a perceptron."""
    if not gated:
        return F.gelu(x, approximate="tanh")
    gate, value = x.chunk(2, dim=-1)
    return F.silu(gate) * value


def perceptron(sizes: BlockSizes) -> nn.ModuleList:
    inner = sizes.hidden * (2 if sizes.gated else 1)
    return nn.ModuleList([Linear(sizes.width, inner, sizes.bias), nn.Identity(), Linear(sizes.hidden, sizes.width, sizes.bias)])


class DoubleBlock(nn.Module):
    """Prompt [B, L, width] and picture [B, T, width] attend to both together; each has weights of its own."""

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__()
        self.heads, self.gated = sizes.heads, sizes.gated
        if sizes.own:
            self.img_mod, self.txt_mod = Modulation(sizes.width, 2), Modulation(sizes.width, 2)
        self.img_attn, self.txt_attn = Attention(sizes), Attention(sizes)
        self.img_mlp, self.txt_mlp = perceptron(sizes), perceptron(sizes)

    def forward(self, img: Tensor, txt: Tensor, told: tuple[Shift, Shift], by: Turn, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`told` has the modulation of the picture and of the prompt. `mask` as attention's, prompt first."""
        for_img, for_txt = told
        parts = (
            split(self.txt_attn.qkv(modulated(txt, for_txt[0], for_txt[1])), self.heads, self.txt_attn.norm),
            split(self.img_attn.qkv(modulated(img, for_img[0], for_img[1])), self.heads, self.img_attn.norm),
        )
        q, k, v = (torch.cat(pair, dim=2) for pair in zip(*parts, strict=True))
        seen = by_head(turned(q, by), turned(k, by), v, mask).transpose(1, 2).flatten(2)
        length = txt.shape[1]
        img = self._rest(img, self.img_attn.proj(seen[:, length:]), self.img_mlp, for_img)
        txt = self._rest(txt, self.txt_attn.proj(seen[:, :length]), self.txt_mlp, for_txt)
        return img, txt

    def _rest(self, x: Tensor, seen: Tensor, mlp: nn.ModuleList, told: Shift) -> Tensor:
        x = torch.addcmul(x, told[2], seen)
        return torch.addcmul(x, told[5], mlp[2](active(mlp[0](modulated(x, told[3], told[4])), self.gated)))


class SingleBlock(nn.Module):
    """Attention and perceptron side by side over prompt and picture as one stream [B, L + T, width]."""

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__()
        self.width, self.heads, self.gated = sizes.width, sizes.heads, sizes.gated
        inner = sizes.hidden * (2 if sizes.gated else 1)
        if sizes.own:
            self.modulation = Modulation(sizes.width, 1)
        self.linear1 = Linear(sizes.width, 3 * sizes.width + inner, sizes.bias)
        self.linear2 = Linear(sizes.width + sizes.hidden, sizes.width, sizes.bias)
        self.norm = QKNorm(sizes.width // sizes.heads)

    def forward(self, x: Tensor, told: Shift, by: Turn, mask: Tensor | None = None) -> Tensor:
        joint = self.linear1(modulated(x, told[0], told[1]))
        q, k, v = split(joint[..., : 3 * self.width], self.heads, self.norm)
        seen = by_head(turned(q, by), turned(k, by), v, mask).transpose(1, 2).flatten(2)
        return torch.addcmul(x, told[2], self.linear2(torch.cat([seen, active(joint[..., 3 * self.width :], self.gated)], dim=-1)))


class Embedder(nn.Module):
    """Two layers with a SiLU between: [B, cin] -> [B, width]."""

    def __init__(self, cin: int, width: int, bias: bool = True) -> None:
        super().__init__()
        self.in_layer, self.out_layer = Linear(cin, width, bias), Linear(width, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out_layer(F.silu(self.in_layer(x)))
        return out


class FinalLayer(nn.Module):
    """The stream -> patches. Without `own` modulation it is told shift and scale."""

    def __init__(self, width: int, cout: int, bias: bool = True, own: bool = True) -> None:
        super().__init__()
        self.linear = Linear(width, cout, bias)
        if own:
            self.adaLN_modulation = nn.ModuleList([nn.SiLU(), Linear(width, 2 * width, bias)])

    def forward(self, x: Tensor, told: Shift) -> Tensor:
        out: Tensor = self.linear(modulated(x, told[0], told[1]))
        return out
