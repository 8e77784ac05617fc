"""Finding what a phrase means: a DETR (Carion et al. 2020, arXiv:2005.12872) whose encoder hears the prompt, with a token that says
whether there is any such thing at all (SAM 3, Carion et al. 2025, arXiv:2511.16719, section 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.sam3.parts import MultiheadAttention, Perceptron, corners, picture, places, tokens, waves
from backend.families.sam3.regions import roi_align
from backend.families.sam3.sizes import Sam3Sizes
from backend.families.sam3.vision import LEVELS
from backend.nn.layers import Conv2d, Embedding, GroupNorm, LayerNorm, Linear

SURE = 12.0
"""Logits of scores are kept within this."""
PRESENT = 10.0
"""And those of presence within this."""
SHARPNESS = 8.0
GROUPS = 8


def unsigmoid(x: Tensor) -> Tensor:
    """The inverse of the sigmoid, kept off its poles."""
    return torch.log(x.clamp(1e-3, 1) / (1 - x).clamp(1e-3, 1))


class FusionLayer(nn.Module):
    """Self-attention, attention to something else, and feed forward, each pre-normed; x [B, T, hidden]."""

    def __init__(self, sizes: Sam3Sizes) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(sizes.hidden, sizes.heads)
        self.cross_attn_image = MultiheadAttention(sizes.hidden, sizes.heads)
        self.linear1, self.linear2 = Linear(sizes.hidden, sizes.feed), Linear(sizes.feed, sizes.hidden)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(sizes.hidden) for _ in range(3))

    def forward(self, x: Tensor, at: Tensor | None, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """`at` [1, T, hidden] is added to the queries and keys of self-attention; `mask` belongs to keys and values [B, S, hidden]."""
        h = self.norm1(x)
        placed = h if at is None else h + at
        x = x + self.self_attn(placed, placed, h)
        x = x + self.cross_attn_image(self.norm2(x), keys, values, mask)
        fed: Tensor = self.linear2(F.relu(self.linear1(self.norm3(x))))
        return x + fed


class Geometry(nn.Module):
    """Boxes around examples as tokens of the prompt, and one token beside them that is there even without boxes."""

    def __init__(self, sizes: Sam3Sizes) -> None:
        super().__init__()
        self.roi, hidden = sizes.roi, sizes.hidden
        self.label_embed, self.cls_embed = Embedding(2, hidden), Embedding(1, hidden)
        self.boxes_direct_project = Linear(4, hidden)
        self.boxes_pool_project = Conv2d(hidden, hidden, sizes.roi)
        self.boxes_pos_enc_project = Linear(hidden + 2, hidden)
        self.img_pre_norm, self.final_proj, self.norm = LayerNorm(hidden), Linear(hidden, hidden), LayerNorm(hidden)
        self.encode = nn.ModuleList(FusionLayer(sizes) for _ in range(sizes.geometry))
        self.encode_norm = LayerNorm(hidden)

    def forward(self, boxes: Tensor, seen: Tensor, at: Tensor) -> Tensor:
        """boxes [B, N, 4] (centre, width and height in 0..1) in features [B, hidden, H, W] at places [1, H * W, hidden] ->
        [B, N + 1, hidden]."""
        b, n = boxes.shape[:2]
        rows = [self.cls_embed(torch.zeros(b, 1, dtype=torch.long, device=seen.device), seen.dtype)]
        if n:
            positive = torch.ones(b, n, dtype=torch.long, device=seen.device)
            rows.insert(0, self.label_embed(positive, seen.dtype) + self._embedded(boxes, seen))
        x = self.norm(self.final_proj(torch.cat(rows, dim=1)))
        values = tokens(seen)
        for layer in self.encode:
            x = layer(x, None, values + at, values)
        normed: Tensor = self.encode_norm(x)
        return normed

    def _embedded(self, boxes: Tensor, seen: Tensor) -> Tensor:
        """What is in the boxes, and where they are."""
        sides = torch.tensor(seen.shape[-2:][::-1] * 2, device=boxes.device)
        normed = self.img_pre_norm(seen.movedim(1, -1)).movedim(-1, 1)
        cut = roi_align(normed.float(), corners(boxes.float()) * sides, self.roi).to(seen.dtype)
        pooled = self.boxes_pool_project(cut.flatten(0, 1)).reshape(*boxes.shape[:2], -1)
        x, y, width, height = boxes.float().unbind(-1)
        half = seen.shape[1] // 2
        where = torch.cat([waves(y, half), waves(x, half), height[..., None], width[..., None]], dim=-1).to(seen.dtype)
        embedded: Tensor = self.boxes_direct_project(boxes.to(seen.dtype)) + pooled + self.boxes_pos_enc_project(where)
        return embedded


class Encoder(nn.Module):
    """Features [B, T, hidden] that have heard the prompt."""

    def __init__(self, sizes: Sam3Sizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FusionLayer(sizes) for _ in range(sizes.encoder))

    def forward(self, x: Tensor, at: Tensor, prompt: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, at, prompt, prompt, mask)
        return x


class DecoderLayer(nn.Module):
    """Queries look at each other, at the prompt and at the picture; each part is normed behind its residual."""

    def __init__(self, sizes: Sam3Sizes) -> None:
        super().__init__()
        self.self_attn, self.ca_text, self.cross_attn = (MultiheadAttention(sizes.hidden, sizes.heads) for _ in range(3))
        self.norm1, self.norm2, self.norm3, self.catext_norm = (LayerNorm(sizes.hidden) for _ in range(4))
        self.linear1, self.linear2 = Linear(sizes.hidden, sizes.feed), Linear(sizes.feed, sizes.hidden)

    def forward(self, x: Tensor, at: Tensor, prompt: Tensor, mask: Tensor | None, keys: Tensor, values: Tensor, near: Tensor) -> Tensor:
        x = self.norm2(x + self.self_attn(x + at, x + at, x))
        x = self.catext_norm(x + self.ca_text(x + at, prompt, prompt, mask))
        x = self.norm1(x + self.cross_attn(x + at, keys, values, near))
        out: Tensor = self.norm3(x + self.linear2(F.relu(self.linear1(x))))
        return out


class Decoder(nn.Module):
    """Queries that become objects: each holds a box, which every layer corrects and by which the next one looks at the picture."""

    def __init__(self, sizes: Sam3Sizes) -> None:
        super().__init__()
        hidden, self.queries = sizes.hidden, sizes.queries
        self.layers = nn.ModuleList(DecoderLayer(sizes) for _ in range(sizes.decoder))
        self.norm, self.presence_token_out_norm = LayerNorm(hidden), LayerNorm(hidden)
        self.query_embed, self.reference_points = Embedding(sizes.queries, hidden), Embedding(sizes.queries, 4)
        self.presence_token, self.presence_token_head = Embedding(1, hidden), Perceptron([hidden, hidden, hidden, 1])
        self.bbox_embed = Perceptron([hidden, hidden, hidden, 4])
        self.ref_point_head = Perceptron([2 * hidden, hidden, hidden])
        self.boxRPB_embed_x, self.boxRPB_embed_y = (Perceptron([2, hidden, sizes.heads]) for _ in range(2))

    def forward(self, seen: Tensor, at: Tensor, sides: tuple[int, int], prompt: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        """seen [B, H * W, hidden] -> queries [B, Q, hidden], their boxes [B, Q, 4] (centre, width and height in 0..1, float32), and
        the logit [B] of there being any object."""
        b, dtype = seen.shape[0], seen.dtype
        ids = torch.arange(self.queries, device=seen.device).expand(b, -1)
        boxes = self.reference_points(ids, torch.float32).sigmoid()
        x = torch.cat([self.presence_token(ids[:, :1] * 0, dtype), self.query_embed(ids, dtype)], dim=1)
        keys = seen + at
        for layer in self.layers:
            whole = torch.cat([waves(boxes[..., i], seen.shape[-1] // 2) for i in (1, 0, 2, 3)], dim=-1)
            where = F.pad(self.ref_point_head(whole.to(dtype)), (0, 0, 1, 0))
            x = layer(x, where, prompt, mask, keys, seen, F.pad(self._near(boxes, sides, dtype), (0, 0, 1, 0)))
            normed = self.norm(x[:, 1:])
            boxes = (self.bbox_embed(normed).float() + unsigmoid(boxes)).sigmoid()
        presence = self.presence_token_head(self.presence_token_out_norm(x[:, 0])).float()
        return normed, boxes, presence.squeeze(-1).clamp(-PRESENT, PRESENT)

    def _near(self, boxes: Tensor, sides: tuple[int, int], dtype: torch.dtype) -> Tensor:
        """What attention gains by how far cells are from the borders of boxes, on a logarithmic scale: [B, heads, Q, H * W]."""
        limits = corners(boxes)
        sums: list[Tensor] = []
        for side, borders, embed in zip(
            sides, (limits[..., 1::2], limits[..., 0::2]), (self.boxRPB_embed_y, self.boxRPB_embed_x), strict=True
        ):
            steps = torch.arange(side, device=boxes.device, dtype=torch.float32) / side
            away = (steps[:, None] - borders[..., None, :]) * SHARPNESS
            sums.append(embed((away.sign() * torch.log2(away.abs() + 1) / math.log2(SHARPNESS)).to(dtype)))
        return (sums[0].unsqueeze(3) + sums[1].unsqueeze(2)).flatten(2, 3).permute(0, 3, 1, 2).contiguous()


class PromptPerceptron(Perceptron):
    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__([hidden, inner, hidden])
        self.out_norm = LayerNorm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out_norm(super().forward(x) + x)
        return out


class Scoring(nn.Module):
    """How well queries [B, Q, hidden] fit the prompt: logits [B, Q], float32."""

    def __init__(self, sizes: Sam3Sizes) -> None:
        super().__init__()
        self.prompt_mlp = PromptPerceptron(sizes.hidden, sizes.feed)
        self.prompt_proj, self.hs_proj = Linear(sizes.hidden, sizes.hidden), Linear(sizes.hidden, sizes.hidden)

    def forward(self, queries: Tensor, prompt: Tensor, real: Tensor) -> Tensor:
        """`real` [B, S] says which tokens of the prompt are no padding."""
        counted = real.to(prompt.dtype).unsqueeze(-1)
        mean = (self.prompt_mlp(prompt) * counted).sum(1) / counted.sum(1).clamp(min=1)
        meant: Tensor = self.prompt_proj(mean).unsqueeze(-1)
        scores: Tensor = (self.hs_proj(queries) @ meant).squeeze(-1).float()
        return (scores / math.sqrt(queries.shape[-1])).clamp(-SURE, SURE)


class PixelDecoder(nn.Module):
    """A pyramid, finest first, as one picture of features at its finest resolution."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(Conv2d(hidden, hidden, 3, padding=1) for _ in range(LEVELS - 1))
        self.norms = nn.ModuleList(GroupNorm(GROUPS, hidden) for _ in range(LEVELS - 1))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        x = levels[-1]
        for finer, conv, norm in zip(reversed(levels[:-1]), self.conv_layers, self.norms, strict=True):
            x = F.relu(norm(conv(F.interpolate(x, finer.shape[-2:], mode="nearest") + finer)))
        return x


class MaskHead(nn.Module):
    """Masks of queries, as products of their embeddings with those of pixels (MaskFormer, Cheng et al. 2021, arXiv:2107.06278)."""

    def __init__(self, sizes: Sam3Sizes) -> None:
        super().__init__()
        hidden = sizes.hidden
        self.pixel_decoder = PixelDecoder(hidden)
        self.mask_predictor = nn.ModuleDict({"mask_embed": Perceptron([hidden, hidden, hidden, hidden])})
        self.cross_attend_prompt, self.cross_attn_norm = MultiheadAttention(hidden, sizes.heads), LayerNorm(hidden)
        self.instance_seg_head = Conv2d(hidden, hidden, 1)

    def pixels(self, levels: Sequence[Tensor], heard: Tensor, prompt: Tensor, mask: Tensor | None) -> Tensor:
        """A pyramid [B, hidden, ...], whose coarsest level gives way to what the encoder made of it [B, T, hidden] -> embeddings of
        pixels [B, hidden, H, W]."""
        heard = heard + self.cross_attend_prompt(self.cross_attn_norm(heard), prompt, prompt, mask)
        embedded: Tensor = self.instance_seg_head(self.pixel_decoder([*levels[:-1], picture(heard, levels[-1])]))
        return embedded

    def forward(self, queries: Tensor, pixels: Tensor) -> Tensor:
        """[B, Q, hidden] -> logits [B, Q, H, W]."""
        return torch.einsum("bqc,bchw->bqhw", self.mask_predictor["mask_embed"](queries), pixels)


def places_of(level: Tensor) -> Tensor:
    """Where the cells of features [B, hidden, H, W] are, in their dtype: [1, H * W, hidden]."""
    _, width, rows, columns = level.shape
    return places(rows, columns, width, level.device).to(level.dtype)
