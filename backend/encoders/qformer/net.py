"""The subject encoder of BLIP-Diffusion (Li et al. 2023, arXiv:2305.14720, section 3): a vision transformer, and a Q-Former (BLIP-2, Li et
al. 2023, arXiv:2301.12597, section 3.1) whose learned queries read the picture beside the subject's name. Under the published key names.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.encoders.clip.net import ClipSizes, Perceptron
from backend.nn.attention import attention
from backend.nn.layers import Conv2d, Embedding, Layer, LayerNorm, Linear


@dataclass(frozen=True)
class TowerSizes:
    """Of the vision transformer. All but `heads`, `quick` and `eps` can be read from shapes."""

    width: int = 1024
    layers: int = 23
    heads: int = 16
    mlp: int = 4096
    patch: int = 14
    positions: int = 257
    """Patches of a picture and one for the whole."""
    qkv_bias: bool = True
    quick: bool = True
    """x sigmoid(1.702 x) rather than the exact GELU."""
    eps: float = 1e-6

    @property
    def side(self) -> int:
        """Pixels of a picture on a side."""
        return round((self.positions - 1) ** 0.5) * self.patch


@dataclass(frozen=True)
class QFormerSizes:
    """Of the whole encoder. All but `heads` and `eps` can be read from shapes."""

    tower: TowerSizes = TowerSizes()
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp: int = 3072
    queries: int = 16
    vocabulary: int = 30523
    positions: int = 512
    projection: int = 3072
    """Inner width of the perceptron after the last layer."""
    looks: tuple[int, ...] = tuple(range(12))
    """The layers that look at the picture."""
    eps: float = 1e-12


class QFormer(Layer):
    """Pictures [B, 3, side, side], normalised, and token ids [B, T] of what to look for -> vectors [B, queries, width]."""

    def __init__(self, sizes: QFormerSizes) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(torch.empty(1, sizes.queries, sizes.width))
        self.visual_encoder = Tower(sizes.tower)
        self.embeddings = WordEmbeddings(sizes)
        self.encoder = Layers([QFormerLayer(sizes, i in sizes.looks) for i in range(sizes.layers)])
        self.proj_layer = Projection(sizes)

    def forward(self, pixels: Tensor, ids: Tensor) -> Tensor:
        seen = self.visual_encoder(pixels)
        queries = self.get("query_tokens", pixels).expand(len(pixels), -1, -1)
        x = self.embeddings(queries, ids)
        for layer in self.encoder.layer:
            x = layer(x, queries.shape[1], seen)
        return self.proj_layer(x[:, : queries.shape[1]])


class WordEmbeddings(nn.Module):
    """Queries as they are, then words with their positions; normed together."""

    def __init__(self, sizes: QFormerSizes) -> None:
        super().__init__()
        self.word_embeddings = Embedding(sizes.vocabulary, sizes.width)
        self.position_embeddings = Embedding(sizes.positions, sizes.width)
        self.LayerNorm = LayerNorm(sizes.width, sizes.eps)

    def forward(self, queries: Tensor, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        words = self.word_embeddings(ids, queries.dtype) + self.position_embeddings(places, queries.dtype)
        return self.LayerNorm(torch.cat([queries, words], dim=1))


class Layers(nn.Module):
    """A list of layers; a module of its own because the published names have it."""

    def __init__(self, layers: list[QFormerLayer]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)


class QFormerLayer(nn.Module):
    """Queries and words attend to each other; then only queries look at the picture, and each kind has a perceptron of its own."""

    def __init__(self, sizes: QFormerSizes, looks: bool) -> None:
        super().__init__()
        self.attention = Attention(sizes, sizes.width)
        self.crossattention = Attention(sizes, sizes.tower.width) if looks else None
        self.intermediate, self.intermediate_query = Inner(sizes), Inner(sizes)
        self.output, self.output_query = Outer(sizes.mlp, sizes), Outer(sizes.mlp, sizes)

    def forward(self, x: Tensor, count: int, seen: Tensor) -> Tensor:
        """x [B, count + T, width], the queries first; seen [B, S, tower width]."""
        x = self.attention(x, x)
        queries, words = x[:, :count], x[:, count:]
        if self.crossattention is not None:
            queries = self.crossattention(queries, seen)
        queries = self.output_query(self.intermediate_query(queries), queries)
        words = self.output(self.intermediate(words), words)
        return torch.cat([queries, words], dim=1)


class Attention(nn.Module):
    """Attention, residual, norm."""

    def __init__(self, sizes: QFormerSizes, context: int) -> None:
        super().__init__()
        self.attention = Heads(sizes, context)
        self.output = Outer(sizes.width, sizes)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.output(self.attention(x, context), x)


class Heads(nn.Module):
    def __init__(self, sizes: QFormerSizes, context: int) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.query = Linear(sizes.width, sizes.width)
        self.key, self.value = Linear(context, sizes.width), Linear(context, sizes.width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return attention(self.query(x), self.key(context), self.value(context), self.heads)


class Inner(nn.Module):
    def __init__(self, sizes: QFormerSizes) -> None:
        super().__init__()
        self.dense = Linear(sizes.width, sizes.mlp)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))


class Outer(nn.Module):
    """Back to the width of the stream, residual, norm."""

    def __init__(self, inner: int, sizes: QFormerSizes) -> None:
        super().__init__()
        self.dense = Linear(inner, sizes.width)
        self.LayerNorm = LayerNorm(sizes.width, sizes.eps)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(h) + x)


class Projection(nn.Module):
    """Into the text encoder's stream: a residual perceptron, pre-normed."""

    def __init__(self, sizes: QFormerSizes) -> None:
        super().__init__()
        self.dense1, self.dense2 = Linear(sizes.width, sizes.projection), Linear(sizes.projection, sizes.width)
        self.LayerNorm = LayerNorm(sizes.width, sizes.eps)

    def forward(self, x: Tensor) -> Tensor:
        h = self.dense1(self.LayerNorm(x))
        return self.dense2(h * torch.sigmoid(1.702 * h)) + x


class Tower(nn.Module):
    """Patches plus positions, norm, pre-norm transformer layers, norm: [B, 3, side, side] -> [B, positions, width]."""

    def __init__(self, sizes: TowerSizes) -> None:
        super().__init__()
        self.embeddings = PatchEmbeddings(sizes)
        self.pre_layernorm = LayerNorm(sizes.width, sizes.eps)
        self.encoder = TowerLayers(sizes)
        self.post_layernorm = LayerNorm(sizes.width, sizes.eps)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.pre_layernorm(self.embeddings(pixels))
        for layer in self.encoder.layers:
            x = layer(x)
        return self.post_layernorm(x)


class PatchEmbeddings(Layer):
    """A learned vector for the whole picture, then one for each patch, plus positions."""

    def __init__(self, sizes: TowerSizes) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(1, 1, sizes.width))
        self.patch_embedding = Conv2d(3, sizes.width, sizes.patch, stride=sizes.patch, bias=False)
        self.position_embedding = nn.Parameter(torch.empty(1, sizes.positions, sizes.width))

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        whole = self.get("class_embedding", pixels).expand(len(pixels), -1, -1)
        return torch.cat([whole, patches], dim=1) + self.get("position_embedding", pixels)


class TowerLayers(nn.Module):
    """A list of layers; a module of its own because the published names have it."""

    def __init__(self, sizes: TowerSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TowerLayer(sizes) for _ in range(sizes.layers))


class TowerLayer(nn.Module):
    def __init__(self, sizes: TowerSizes) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = LayerNorm(sizes.width, sizes.eps), LayerNorm(sizes.width, sizes.eps)
        self.self_attn = TowerAttention(sizes)
        self.mlp = Perceptron(ClipSizes(width=sizes.width, mlp=sizes.mlp, quick=sizes.quick))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class TowerAttention(nn.Module):
    def __init__(self, sizes: TowerSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.qkv = Linear(sizes.width, 3 * sizes.width, bias=sizes.qkv_bias)
        self.projection = Linear(sizes.width, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.projection(attention(q, k, v, self.heads))
