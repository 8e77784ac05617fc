"""The text transformer of CLIP (Radford et al. 2021, arXiv:2103.00020, section 2.4), under the published key names.

Spans CLIP-L (SD 1, SDXL, SD 3, Flux) and, in the same names, the OpenCLIP H and bigG towers (SD 2, SDXL).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.encoders.clip.vocabulary import END, SIZE
from backend.nn.attention import attention
from backend.nn.layers import Embedding, LayerNorm, Linear


@dataclass(frozen=True)
class ClipSizes:
    """Everything that differs between text encoders of this kind. All but the last two can be read from shapes."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp: int = 3072
    vocabulary: int = SIZE
    positions: int = 77
    projection: int | None = None
    """Width of the pooled vector after its projection, or None without one."""
    quick: bool = True
    """x sigmoid(1.702 x) as CLIP-L does, rather than the exact GELU of OpenCLIP."""
    end: int = END
    """The token whose position gives the pooled vector."""


Vectors = Sequence[tuple[int, int, Tensor]]
"""(chunk, position, vector [width]): what replaces the embedding of the token at that place."""


class ClipText(nn.Module):
    """Token ids [B, T] to hidden states and a pooled vector."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.text_model = TextModel(sizes)
        self.text_projection = Linear(sizes.width, sizes.projection, bias=False) if sizes.projection is not None else None

    def forward(
        self,
        tokens: Tensor,
        dtype: torch.dtype,
        vectors: Vectors = (),
        layer: int | None = None,
        norm: bool = True,
        projected: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Returns hidden states [B, T, width] of `layer` and pooled [B, projection or width].

        `layer` counts from the end: None and -1 are the last, -2 the one before (clip skip); layers the net lacks mean the last. `norm`
        says whether the hidden states go through the final norm. The pooled vector is always that of the last layer, normed, at the
        first end token; `projected` where the net has a projection.
        """
        hidden, last = self.text_model(tokens, dtype, vectors, layer, norm)
        ends = (tokens == self.sizes.end).to(torch.uint8).argmax(dim=1)
        pooled = last[torch.arange(len(tokens), device=tokens.device), ends]
        return hidden, pooled if self.text_projection is None or not projected else self.text_projection(pooled)


class TextModel(nn.Module):
    """Embeddings, pre-norm transformer layers under a causal mask, final norm."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.layers = sizes.layers
        self.embeddings = Embeddings(sizes)
        self.encoder = Encoder(sizes)
        self.final_layer_norm = LayerNorm(sizes.width)

    def forward(self, tokens: Tensor, dtype: torch.dtype, vectors: Vectors, layer: int | None, norm: bool) -> tuple[Tensor, Tensor]:
        x = self.embeddings(tokens, dtype, vectors)
        mask = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device).tril()
        wanted = self.layers - 1 if layer is None or not -self.layers <= layer < 0 else self.layers + layer
        kept = x
        for i, block in enumerate(self.encoder.layers):
            x = block(x, mask)
            if i == wanted:
                kept = x
        last = self.final_layer_norm(x)
        if not norm:
            return kept, last
        return (last if kept is x else self.final_layer_norm(kept)), last


class Embeddings(nn.Module):
    """Token plus position."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.token_embedding = Embedding(sizes.vocabulary, sizes.width)
        self.position_embedding = Embedding(sizes.positions, sizes.width)

    def forward(self, tokens: Tensor, dtype: torch.dtype, vectors: Vectors) -> Tensor:
        x = self.token_embedding(tokens, dtype)
        for chunk, position, vector in vectors:
            x[chunk, position] = vector.to(x)
        return x + self.position_embedding(torch.arange(tokens.shape[1], device=tokens.device), dtype)


class Encoder(nn.Module):
    """A list of layers; a module of its own because the published names have it."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))


class Block(nn.Module):
    """Self-attention and a two-layer perceptron, each pre-normed and residual; x [B, T, width]."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = LayerNorm(sizes.width), LayerNorm(sizes.width)
        self.self_attn = SelfAttention(sizes)
        self.mlp = Perceptron(sizes)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class SelfAttention(nn.Module):
    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.q_proj, self.k_proj = Linear(sizes.width, sizes.width), Linear(sizes.width, sizes.width)
        self.v_proj, self.out_proj = Linear(sizes.width, sizes.width), Linear(sizes.width, sizes.width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.out_proj(attention(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.heads, mask))


class Perceptron(nn.Module):
    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.quick = sizes.quick
        self.fc1, self.fc2 = Linear(sizes.width, sizes.mlp), Linear(sizes.mlp, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        return self.fc2(h * torch.sigmoid(1.702 * h) if self.quick else F.gelu(h))
