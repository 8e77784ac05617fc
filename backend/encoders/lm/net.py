"""The net of decoder-only language models, under the names of the published files.

Spans Qwen 2.5 (Yang et al. 2024, arXiv:2412.15115), Qwen 3 (arXiv:2505.09388), Llama 3.1 (arXiv:2407.21783), Gemma 2 (arXiv:2408.00118),
Gemma 3 (arXiv:2503.19786), Mistral Small, Ministral 3 and Qwen 3.5, told apart by sizes alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.encoders.lm import rotary
from backend.encoders.lm.delta import GatedDelta, State
from backend.encoders.lm.sizes import LmSizes
from backend.nn.attention import by_head
from backend.nn.layers import Embedding, Layer, Linear, RMSNorm
from backend.nn.rope import Turn, turned, turned_halves


class OffsetNorm(RMSNorm):
    """As RMSNorm, with weights that are kept less one; all of it in float32."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.get("weight", x)
        return (F.rms_norm(x.float(), (self.width,), None, self.eps) * (1 + weight.float())).to(x.dtype)


def norm(width: int, sizes: LmSizes) -> Layer:
    return (OffsetNorm if sizes.offset else RMSNorm)(width, sizes.eps)


@dataclass
class Cache:
    """Keys and values of the tokens read so far, by layer: [B, kv heads, T, head]. For generation, a token at a time."""

    most: int
    """Tokens it will be asked to hold."""
    length: int = 0
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    states: dict[int, State] = field(default_factory=dict)
    """Of layers that remember in a matrix."""

    def extended(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of a layer, these after those it has."""
        if layer not in self.layers:
            shape = (*k.shape[:2], self.most, k.shape[3])
            self.layers[layer] = (k.new_empty(shape), v.new_empty(shape))
        keys, values = self.layers[layer]
        end = self.length + k.shape[2]
        keys[:, :, self.length : end], values[:, :, self.length : end] = k, v
        return keys[:, :, :end], values[:, :, :end]


@dataclass(frozen=True)
class Sight:
    """What a kind of layer needs to know of the tokens: their turn, and who sees whom [B or 1, 1, T, S] (None: everybody)."""

    turn: Turn
    mask: Tensor | None
    scale: Tensor | None = None
    """Of queries by place [B, 1, T, 1]."""
    there: Tensor | None = None
    """[B, T]: which tokens are no padding."""


class LanguageModel(nn.Module):
    """Token ids to hidden states."""

    def __init__(self, sizes: LmSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embed_tokens = Embedding(sizes.vocabulary, sizes.width)
        self.layers = nn.ModuleList(Block(sizes, i) for i in range(sizes.layers))
        self.norm = norm(sizes.width, sizes) if sizes.final else None

    def embedded(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """[B, T] -> [B, T, width]"""
        x = self.embed_tokens(tokens, dtype)
        return x * torch.tensor(self.sizes.width**0.5, dtype=dtype, device=x.device) if self.sizes.sandwich else x

    def forward(
        self,
        x: Tensor,
        wanted: Sequence[int],
        *,
        mask: Tensor | None = None,
        places: Tensor | None = None,
        cache: Cache | None = None,
        deep: Mapping[int, tuple[Tensor, Tensor]] | None = None,
        causal: Tensor | None = None,
        finish: bool = True,
    ) -> list[Tensor]:
        """Embeddings [B, T, width] -> hidden states [B, T, width], one for each of `wanted`.

        0 are the embeddings, i what layer i (from 1) gave, and the number of layers the last one's after the final norm; negative ones
        count from there. Layers behind the last one wanted do not run. `mask` [B, T] bool: which tokens are there (False: padding).
        `places` [B, T], or [3, B, T] for models that know rows and columns; default 0, 1, 2... `deep` adds to the first layers' outputs,
        after they are kept: layer -> (places in the text [B, T] bool, vectors [n, width]). `causal` [T, T] bool: who sees whom, where
        that is not everybody before. `finish`: whether the last layer's go through the final norm.
        """
        count = self.sizes.layers
        numbers = [i + count + 1 if i < 0 else i for i in wanted]
        begin = cache.length if cache is not None else 0
        if places is None:
            places = torch.arange(begin, begin + x.shape[1], device=x.device).expand(x.shape[0], -1)
        far, near = self._sights(x, places, mask, begin, causal)
        kept = {0: x} if 0 in numbers else {}
        for i, block in enumerate(self.layers[: max(numbers)]):
            x = block(x, near if self.sizes.is_near(i) else far, i, cache)
            if i + 1 in numbers:
                kept[i + 1] = self.norm(x) if finish and i + 1 == count and self.norm is not None else x
            if deep is not None and i in deep:
                where, vectors = deep[i]
                x = x.clone()
                x[where] += vectors.to(x)
        if cache is not None:
            cache.length += x.shape[1]
        return [kept[i] for i in numbers]

    def _sights(self, x: Tensor, places: Tensor, mask: Tensor | None, begin: int, causal: Tensor | None) -> tuple[Sight, Sight]:
        s = self.sizes
        end = begin + x.shape[1]
        rows, columns = torch.arange(begin, end, device=x.device)[:, None], torch.arange(end, device=x.device)[None, :]
        seen = (columns <= rows if causal is None else causal)[None, None]
        if mask is not None:
            seen = seen & mask[:, None, None, :].bool()
            seen = seen | ((rows == columns) & ~seen.any(-1, keepdim=True))  # a row without anybody would be undefined
        scale = None
        if s.by_length is not None:
            beta, length = s.by_length
            scale = 1 + beta * torch.log(1 + torch.floor(places / length))[:, None, :, None]
        turn = rotary.turn(places, s.rope, s.turning or s.head, s.sections, s.interleaved)
        far = Sight(turn, seen, scale, mask)
        if not s.near or s.window is None:
            return far, far
        near = rotary.turn(places, s.near_rope, s.head) if s.near_rope is not None else turn
        return far, Sight(near, seen & (columns > rows - s.window), scale)


class Block(nn.Module):
    """Attention and a gated perceptron, residual, normalised before and, in sandwich nets, after."""

    def __init__(self, sizes: LmSizes, layer: int) -> None:
        super().__init__()
        self.remembers = sizes.remembers(layer)
        if sizes.delta is not None and self.remembers:
            self.linear_attn = GatedDelta(sizes.width, sizes.delta, sizes.eps)
        else:
            self.self_attn = SelfAttention(sizes)
        self.mlp = GatedPerceptron(sizes.width, sizes.mlp, sizes.gelu)
        self.input_layernorm, self.post_attention_layernorm = norm(sizes.width, sizes), norm(sizes.width, sizes)
        self.sandwich = sizes.sandwich
        if sizes.sandwich:
            self.pre_feedforward_layernorm, self.post_feedforward_layernorm = norm(sizes.width, sizes), norm(sizes.width, sizes)

    def forward(self, x: Tensor, sight: Sight, layer: int, cache: Cache | None) -> Tensor:
        h = self.input_layernorm(x)
        h = self._remembered(h, sight, layer, cache) if self.remembers else self.self_attn(h, sight, layer, cache)
        if self.sandwich:
            x = x + self.post_attention_layernorm(h)
            return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))
        x = x + h
        return x + self.mlp(self.post_attention_layernorm(x))

    def _remembered(self, x: Tensor, sight: Sight, layer: int, cache: Cache | None) -> Tensor:
        x = x if sight.there is None else x * sight.there.unsqueeze(-1)
        out, state = self.linear_attn(x, None if cache is None else cache.states.get(layer))
        if cache is not None:
            cache.states[layer] = state
        return out


class SelfAttention(nn.Module):
    """Grouped queries (Ainslie et al. 2023, arXiv:2305.13245) with rotary places."""

    def __init__(self, sizes: LmSizes) -> None:
        super().__init__()
        self.sizes = sizes
        inner, few = sizes.heads * sizes.head, sizes.kv_heads * sizes.head
        self.q_proj = Linear(sizes.width, inner * 2 if sizes.gated else inner, sizes.bias)
        self.o_proj = Linear(inner, sizes.width, bias=False)
        self.k_proj, self.v_proj = Linear(sizes.width, few, sizes.bias), Linear(sizes.width, few, sizes.bias)
        self.q_norm = norm(sizes.head, sizes) if sizes.qk_norm else None
        self.k_norm = norm(sizes.head, sizes) if sizes.qk_norm else None

    def forward(self, x: Tensor, sight: Sight, layer: int, cache: Cache | None) -> Tensor:
        s = self.sizes
        q, k, v = (proj(x).unflatten(-1, (-1, s.head)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        gate = None
        if s.gated:
            q, gate = q.unflatten(2, (-1, 2)).unbind(3)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = self._turned(q.transpose(1, 2), sight.turn), self._turned(k.transpose(1, 2), sight.turn), v.transpose(1, 2)
        if sight.scale is not None:
            q = q * sight.scale.to(q)
        if cache is not None:
            k, v = cache.extended(layer, k, v)
        group = s.heads // s.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        if s.query is not None:
            q = q * (s.head / s.query) ** 0.5
        out = by_head(q, k, v, sight.mask) if s.cap is None else capped(q, k, v, sight.mask, s.cap)
        out = out.transpose(1, 2)
        return self.o_proj((out if gate is None else out * gate.sigmoid()).flatten(2))

    def _turned(self, x: Tensor, by: Turn) -> Tensor:
        rotate, channels = turned if self.sizes.neighbours else turned_halves, self.sizes.turning
        return rotate(x, by) if channels is None else torch.cat([rotate(x[..., :channels], by), x[..., channels:]], dim=-1)


def capped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, cap: float) -> Tensor:
    """Attention over scores cap tanh(s / cap) (Gemma 2, section 2); shapes as `by_head`."""
    scores = cap * torch.tanh(q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 / cap))
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.float().softmax(-1).to(v.dtype) @ v


class GatedPerceptron(nn.Module):
    """width -> inner -> width with a gate (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, width: int, inner: int, gelu: bool) -> None:
        super().__init__()
        self.gelu = gelu
        self.gate_proj, self.up_proj = Linear(width, inner, bias=False), Linear(width, inner, bias=False)
        self.down_proj = Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate_proj(x)
        return self.down_proj((F.gelu(gate, approximate="tanh") if self.gelu else F.silu(gate)) * self.up_proj(x))


class Head(nn.Module):
    """Hidden states to logits, for nets whose head is not their table of embeddings."""

    def __init__(self, sizes: LmSizes) -> None:
        super().__init__()
        self.lm_head = Linear(sizes.width, sizes.vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.lm_head(x)


def logits(net: LanguageModel, x: Tensor, head: Head | None) -> Tensor:
    """[B, T, width] -> [B, T, vocabulary], float32."""
    scores = F.linear(x, net.embed_tokens.get("weight", x)) if head is None else head(x)
    cap = net.sizes.last_cap
    return scores.float() if cap is None else cap * torch.tanh(scores.float() / cap)
