"""Segmenting what points, boxes or a rough mask mean: the decoder of Segment Anything (Kirillov et al. 2023, arXiv:2304.02643, appendix A)
with the high-resolution features and object scores of its second version (Ravi et al. 2024, arXiv:2408.00714)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.sam3.parts import ConvTranspose2d, LayerNorm2d, Perceptron, picture, tokens
from backend.families.sam3.sizes import LARGER, Sam3Sizes
from backend.nn.attention import attention
from backend.nn.layers import Conv2d, Embedding, Layer, LayerNorm, Linear

KINDS = 4
"""Of points: apart from the object, on it, and the corners of a box."""
APART, ON, TOP_LEFT, BOTTOM_RIGHT, NONE = 0, 1, 2, 3, -1
MASKS = 4
"""That are made at once: one for clear prompts, and three for a prompt that could mean a part, a thing or several."""
NARROWER = 2
"""Attention between tokens and picture has so many times fewer channels."""
NOTHING = -1024.0
"""The logits of a mask where the net says there is no object."""
MARGIN, STABLE = 0.05, 0.98
"""The mask for clear prompts counts where its area stays so much the same when the limit moves by that margin."""


class Prompts(Layer):
    """Points and masks as embeddings."""

    def __init__(self, sizes: Sam3Sizes) -> None:
        super().__init__()
        hidden, inner = sizes.hidden, sizes.mask_channels
        self.side, self.grid = sizes.side, LARGER * sizes.grid
        self.waves = nn.Parameter(torch.empty(2, hidden // 2))
        self.point_embeddings = nn.Parameter(torch.empty(KINDS, hidden))
        self.not_a_point_embed, self.no_mask_embed = Embedding(1, hidden), Embedding(1, hidden)
        self.mask_downscaling = nn.ModuleList(
            [
                Conv2d(1, inner // 4, 2, stride=2),
                LayerNorm2d(inner // 4),
                nn.GELU(),
                Conv2d(inner // 4, inner, 2, stride=2),
                LayerNorm2d(inner),
                nn.GELU(),
                Conv2d(inner, hidden, 1),
            ]
        )

    def points(self, points: Tensor, kinds: Tensor, dtype: torch.dtype) -> Tensor:
        """points [B, N, 2] (x, y in pixels as the net sees them), kinds [B, N] -> [B, N + 1, hidden]: one that is no point ends them."""
        points, kinds = F.pad(points.float() + 0.5, (0, 0, 0, 1)), F.pad(kinds, (0, 1), value=NONE)
        table = self.get("point_embeddings", points)[kinds.clamp(min=0)]
        none = self.not_a_point_embed(torch.zeros_like(kinds), torch.float32)
        return torch.where((kinds == NONE).unsqueeze(-1), none, self._placed(points / self.side) + table).to(dtype)

    def everywhere(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The embeddings of the middles of all cells: [1, cells, hidden]."""
        middles = (torch.arange(self.grid, device=device) + 0.5) / self.grid
        return self._placed(torch.stack(torch.meshgrid(middles, middles, indexing="xy"), dim=-1)).flatten(0, 1)[None].to(dtype)

    def mask(self, logits: Tensor | None, like: Tensor) -> Tensor:
        """logits [B, 1, 4 H, 4 W] of a rough mask -> [B, hidden, H, W]; for None what stands for no mask."""
        if logits is None:
            none: Tensor = self.no_mask_embed(torch.zeros(1, dtype=torch.long, device=like.device), like.dtype)
            return none[..., None, None]
        x = logits.to(like.dtype)
        for layer in self.mask_downscaling:
            x = layer(x)
        return x

    def _placed(self, places: Tensor) -> Tensor:
        """places [..., 2] in 0..1 -> [..., hidden] by random waves (Tancik et al. 2020, arXiv:2006.10739)."""
        turned = 2 * math.pi * ((2 * places - 1) @ self.get("waves", places))
        return torch.cat([turned.sin(), turned.cos()], dim=-1)


class NarrowAttention(nn.Module):
    def __init__(self, width: int, heads: int, narrower: int) -> None:
        super().__init__()
        self.heads, inner = heads, width // narrower
        self.q_proj, self.k_proj, self.v_proj = (Linear(width, inner) for _ in range(3))
        self.out_proj = Linear(inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Tensor = self.out_proj(attention(self.q_proj(q), self.k_proj(k), self.v_proj(v), self.heads))
        return out


class Feed(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.lin1, self.lin2 = Linear(width, inner), Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.lin2(F.relu(self.lin1(x)))
        return y


class TwoWayLayer(nn.Module):
    """Tokens look at each other and at the picture, and the picture at the tokens; `first` replaces tokens rather than adding to them."""

    def __init__(self, sizes: Sam3Sizes, first: bool) -> None:
        super().__init__()
        self.first, hidden, heads = first, sizes.hidden, sizes.heads
        self.self_attn = NarrowAttention(hidden, heads, 1)
        self.cross_attn_token_to_image = NarrowAttention(hidden, heads, NARROWER)
        self.cross_attn_image_to_token = NarrowAttention(hidden, heads, NARROWER)
        self.mlp = Feed(hidden, sizes.two_way_feed)
        self.norm1, self.norm2, self.norm3, self.norm4 = (LayerNorm(hidden) for _ in range(4))

    def forward(self, x: Tensor, image: Tensor, at: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        x = self.self_attn(x, x, x) if self.first else x + self.self_attn(x + at, x + at, x)
        x = self.norm1(x)
        x = self.norm2(x + self.cross_attn_token_to_image(x + at, image + places, image))
        x = self.norm3(x + self.mlp(x))
        return x, self.norm4(image + self.cross_attn_image_to_token(image + places, x + at, x))


class TwoWay(nn.Module):
    def __init__(self, sizes: Sam3Sizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(sizes, i == 0) for i in range(sizes.two_way))
        self.final_attn_token_to_image = NarrowAttention(sizes.hidden, sizes.heads, NARROWER)
        self.norm_final_attn = LayerNorm(sizes.hidden)

    def forward(self, start: Tensor, image: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        x = start
        for layer in self.layers:
            x, image = layer(x, image, start, places)
        return self.norm_final_attn(x + self.final_attn_token_to_image(x + start, image + places, image)), image


@dataclass(frozen=True)
class Segmented:
    """What a prompt means in each picture of a batch."""

    logits: Tensor
    """[B, M, 4 H, 4 W], float32: above zero is the object."""
    quality: Tensor
    """[B, M]: how well each is expected to overlap with what is meant, 0..1."""
    present: Tensor
    """[B], logits of there being an object at all."""

    def best(self) -> Tensor:
        """The logits [B, 1, 4 H, 4 W] of the mask that is expected to be best; nothing where there is no object."""
        rows = torch.arange(len(self.logits), device=self.logits.device)
        chosen = self.logits[rows, self.quality.argmax(dim=1)].unsqueeze(1)
        return torch.where(self.present[:, None, None, None] > 0, chosen, NOTHING)


class Masks(nn.Module):
    """Embeddings of prompts and features of a picture -> masks."""

    def __init__(self, sizes: Sam3Sizes) -> None:
        super().__init__()
        hidden = sizes.hidden
        self.transformer = TwoWay(sizes)
        self.iou_token, self.mask_tokens, self.obj_score_token = Embedding(1, hidden), Embedding(MASKS, hidden), Embedding(1, hidden)
        upscaling = [ConvTranspose2d(hidden, hidden // 4), LayerNorm2d(hidden // 4), nn.GELU(), ConvTranspose2d(hidden // 4, hidden // 8)]
        self.output_upscaling = nn.ModuleList(upscaling)
        self.conv_s0, self.conv_s1 = Conv2d(hidden, hidden // 8, 1), Conv2d(hidden, hidden // 4, 1)
        self.output_hypernetworks_mlps = nn.ModuleList(Perceptron([hidden, hidden, hidden, hidden // 8]) for _ in range(MASKS))
        self.iou_prediction_head = Perceptron([hidden, sizes.quality, sizes.quality, MASKS])
        self.pred_obj_score_head = Perceptron([hidden, hidden, hidden, 1])

    def forward(self, levels: Sequence[Tensor], points: Tensor, mask: Tensor, places: Tensor, several: bool) -> Segmented:
        """levels: a pyramid, finest first; points [B, N, hidden]; `mask` is added to the coarsest level. `several`: three masks for a
        prompt that is not clear, else one."""
        fine, middle, coarse = levels
        ids = torch.arange(MASKS, device=coarse.device).expand(len(coarse), -1)
        own = [
            self.obj_score_token(ids[:, :1], coarse.dtype),
            self.iou_token(ids[:, :1], coarse.dtype),
            self.mask_tokens(ids, coarse.dtype),
        ]
        x, image = self.transformer(torch.cat([*own, points], dim=1), tokens(coarse + mask), places)
        up = self.output_upscaling
        y = F.gelu(up[1](up[0](picture(image, coarse)) + self.conv_s1(middle)))
        y = F.gelu(up[3](y) + self.conv_s0(fine))
        kernels = torch.stack([mlp(x[:, 2 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)
        logits = (kernels @ y.flatten(2)).reshape(len(y), MASKS, *y.shape[-2:]).float()
        found = Segmented(
            logits, self.iou_prediction_head(x[:, 1]).float().sigmoid(), self.pred_obj_score_head(x[:, 0]).float().squeeze(-1)
        )
        if several:
            return Segmented(found.logits[:, 1:], found.quality[:, 1:], found.present)
        return _clear(found)


def _clear(found: Segmented) -> Segmented:
    """The one mask for clear prompts, or where it is not stable the best of the three others."""
    single = found.logits[:, :1].flatten(2)
    inner, outer = ((single > limit).sum(-1) for limit in (MARGIN, -MARGIN))
    stable = torch.where(outer > 0, inner / outer, 1.0) >= STABLE
    best = found.quality[:, 1:].argmax(dim=1, keepdim=True) + 1
    which = torch.where(stable, 0, best)
    rows = torch.arange(len(which), device=which.device)[:, None]
    return Segmented(found.logits[rows, which], found.quality[rows, which], found.present)
