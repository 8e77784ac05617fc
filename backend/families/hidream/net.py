"""HiDream's transformer: two streams, then one, with experts; every block reads another layer of Llama. Names are the published ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import by_head
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Layer, Linear, RMSNorm
from backend.nn.modulate import modulated
from backend.nn.patchify import fitted, to_picture, to_tokens
from backend.nn.rope import Turn, grid, turn, turned
from backend.nn.sandwich import SwiGLU

PATCH = 2
THETA = 10000.0
FREQUENCIES = 256
CHOSEN = 2
"""Experts that a token asks."""


@dataclass(frozen=True)
class HiDreamSizes:
    channels: int
    width: int
    heads: int
    double: int
    single: int
    experts: int
    hidden: int
    """Width inside an expert."""
    shared: int
    """Width inside the perceptron that all tokens share."""
    text_hidden: int
    pooled: int
    t5: int
    llama: int

    @property
    def axes(self) -> tuple[int, int, int]:
        """Channels of a head that turn with the token's number, row and column."""
        head = self.width // self.heads
        return head // 2, head // 4, head // 4


class Embedder(nn.Module):
    """Two layers with a SiLU between."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = Linear(width, out), Linear(out, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class Gate(Layer):
    """How much each expert knows of a token: [N, width] -> [N, experts], adding up to 1."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.get("weight", x)).softmax(dim=-1)


class Experts(nn.Module):
    """A perceptron for all tokens, and for each token the two experts that know it best, weighed by how well."""

    def __init__(self, sizes: HiDreamSizes) -> None:
        super().__init__()
        self.shared_experts = SwiGLU(sizes.width, sizes.shared)
        self.experts = nn.ModuleList(SwiGLU(sizes.width, sizes.hidden) for _ in range(sizes.experts))
        self.gate = Gate(sizes.width, sizes.experts)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, 1)
        weights, chosen = self.gate(tokens).topk(CHOSEN, dim=-1)
        out, order = torch.zeros_like(tokens), chosen.flatten().argsort(stable=True)
        shares = torch.bincount(chosen.flatten(), minlength=len(self.experts)).tolist()  # all that is waited for
        for expert, places in zip(self.experts, order.split(shares), strict=True):
            if len(places):
                rows = places // CHOSEN
                out.index_add_(0, rows, expert(tokens[rows]) * weights.flatten()[places].unsqueeze(-1))
        return out.view_as(x) + self.shared_experts(x)


class Attention(nn.Module):
    """Attention over picture tokens and prompt tokens; with `both`, the prompt's have weights of their own."""

    def __init__(self, sizes: HiDreamSizes, both: bool) -> None:
        super().__init__()
        self.heads, width = sizes.heads, sizes.width
        self.to_q, self.to_k, self.to_v, self.to_out = (Linear(width, width) for _ in range(4))
        self.q_rms_norm, self.k_rms_norm = RMSNorm(width, 1e-5), RMSNorm(width, 1e-5)
        if both:
            self.to_q_t, self.to_k_t, self.to_v_t, self.to_out_t = (Linear(width, width) for _ in range(4))
            self.q_rms_norm_t, self.k_rms_norm_t = RMSNorm(width, 1e-5), RMSNorm(width, 1e-5)

    def of_picture(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, T, width]."""
        return self.q_rms_norm(self.to_q(x)), self.k_rms_norm(self.to_k(x)), self.to_v(x)

    def of_text(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.q_rms_norm_t(self.to_q_t(x)), self.k_rms_norm_t(self.to_k_t(x)), self.to_v_t(x)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, by: Turn) -> Tensor:
        q, k, v = (torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        return by_head(turned(q, by), turned(k, by), v).transpose(1, 2).flatten(2)


class SingleBlock(nn.Module):
    """x [B, T, width] of both kinds; time [B, width]."""

    def __init__(self, sizes: HiDreamSizes) -> None:
        super().__init__()
        self.adaLN_modulation = nn.ModuleList([nn.SiLU(), Linear(sizes.width, 6 * sizes.width)])
        self.attn1 = Attention(sizes, both=False)
        self.ff_i: nn.Module = Experts(sizes) if sizes.experts else SwiGLU(sizes.width, sizes.hidden)

    def forward(self, x: Tensor, time: Tensor, by: Turn) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = modulation(self.adaLN_modulation[1], time, 6)
        x = torch.addcmul(x, gate, self.attn1.to_out(self.attn1.attend(*self.attn1.of_picture(modulated(x, shift, scale)), by)))
        return torch.addcmul(x, gate2, self.ff_i(modulated(x, shift2, scale2)))


class DoubleBlock(nn.Module):
    """Picture tokens x and prompt tokens c, each with norms and perceptron of its own."""

    def __init__(self, sizes: HiDreamSizes) -> None:
        super().__init__()
        self.adaLN_modulation = nn.ModuleList([nn.SiLU(), Linear(sizes.width, 12 * sizes.width)])
        self.attn1 = Attention(sizes, both=True)
        self.ff_i: nn.Module = Experts(sizes) if sizes.experts else SwiGLU(sizes.width, sizes.hidden)
        self.ff_t = SwiGLU(sizes.width, sizes.text_hidden)

    def forward(self, x: Tensor, c: Tensor, time: Tensor, by: Turn) -> tuple[Tensor, Tensor]:
        m = modulation(self.adaLN_modulation[1], time, 12)
        picture = self.attn1.of_picture(modulated(x, m[0], m[1]))
        text = self.attn1.of_text(modulated(c, m[6], m[7]))
        q, k, v = (torch.cat(pair, dim=1) for pair in zip(picture, text, strict=True))
        both = self.attn1.attend(q, k, v, by)
        of_picture, of_text = both[:, : x.shape[1]], both[:, x.shape[1] :]
        x = torch.addcmul(x, m[2], self.attn1.to_out(of_picture))
        c = torch.addcmul(c, m[8], self.attn1.to_out_t(of_text))
        x = torch.addcmul(x, m[5], self.ff_i(modulated(x, m[3], m[4])))
        return x, torch.addcmul(c, m[11], self.ff_t(modulated(c, m[9], m[10])))


def modulation(layer: nn.Module, time: Tensor, count: int) -> tuple[Tensor, ...]:
    """`count` of [B, 1, width]."""
    numbers: Tensor = layer(F.silu(time)).unsqueeze(1)
    return numbers.chunk(count, dim=-1)


class FinalLayer(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear = Linear(width, out)
        self.adaLN_modulation = nn.ModuleList([nn.SiLU(), Linear(width, 2 * width)])

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift, scale = modulation(self.adaLN_modulation[1], time, 2)
        return self.linear(modulated(x, shift, scale))


class HiDreamNet(nn.Module):
    """(x [B, C, H, W], t in 0..1000 [B], context [B, L, t5] of T5, llama [B, layers, M, llama] of Llama, y [B, pooled] of both CLIPs,
    beside [B, C, H, W']: a picture to edit, seen at the right) -> velocity, from noise to picture, [B, C, H, W].

    Block i reads layer i of Llama, and the last one where there are fewer layers than blocks.
    """

    def __init__(self, sizes: HiDreamSizes) -> None:
        super().__init__()
        self.sizes = sizes
        patch = sizes.channels * PATCH * PATCH
        self.x_embedder = nn.ModuleDict({"proj": Linear(patch, sizes.width)})
        self.t_embedder = nn.ModuleDict({"timestep_embedder": Embedder(FREQUENCIES, sizes.width)})
        self.p_embedder = nn.ModuleDict({"pooled_embedder": Embedder(sizes.pooled, sizes.width)})
        self.double_stream_blocks = nn.ModuleList(nn.ModuleDict({"block": DoubleBlock(sizes)}) for _ in range(sizes.double))
        self.single_stream_blocks = nn.ModuleList(nn.ModuleDict({"block": SingleBlock(sizes)}) for _ in range(sizes.single))
        self.final_layer = FinalLayer(sizes.width, patch)
        blocks = sizes.double + sizes.single
        texts = [sizes.llama] * blocks + [sizes.t5]
        self.caption_projection = nn.ModuleList(nn.ModuleDict({"linear": Linear(text, sizes.width, bias=False)}) for text in texts)

    def forward(self, x: Tensor, t: Tensor, context: Tensor, llama: Tensor, y: Tensor, beside: Tensor | None = None) -> Tensor:
        height, width = x.shape[-2:]
        if beside is not None:
            x = torch.cat([x, beside], dim=-1)
        x = fitted(x, PATCH)
        tall, wide = x.shape[-2:]
        time = self.t_embedder["timestep_embedder"](timestep_embedding(t, FREQUENCIES).to(x.dtype)) + self.p_embedder["pooled_embedder"](y)

        last = self.sizes.double + self.sizes.single - 1
        steady = torch.cat([self.caption_projection[-1].get_submodule("linear")(context), self._read(last, llama)], dim=1)
        places = F.pad(grid(tall // PATCH, wide // PATCH, 0, x.device), (0, 0, 0, steady.shape[1] + llama.shape[2]))
        by = turn(places, self.sizes.axes, THETA)

        h = self.x_embedder["proj"](to_tokens(x, PATCH, channels_last=True))
        for i, block in enumerate(self.double_stream_blocks):
            h, text = block.get_submodule("block")(h, torch.cat([steady, self._read(i, llama)], dim=1), time, by)
            steady = text[:, : steady.shape[1]]
        pictures = h.shape[1]
        h = torch.cat([h, steady], dim=1)
        for i, block in enumerate(self.single_stream_blocks, self.sizes.double):
            kept = h.shape[1]
            h = block.get_submodule("block")(torch.cat([h, self._read(i, llama)], dim=1), time, by)[:, :kept]

        out = to_picture(self.final_layer(h[:, :pictures], time), tall, wide, PATCH, channels_last=True)
        return out[..., :height, :width]

    def _read(self, block: int, llama: Tensor) -> Tensor:
        """Llama's tokens for a block."""
        return self.caption_projection[block].get_submodule("linear")(llama[:, min(block, llama.shape[1] - 1)])
