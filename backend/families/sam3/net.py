"""SAM 3 (Carion et al. 2025, arXiv:2511.16719): everything in a picture that a phrase or examples mean, and objects by points and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.sam3.detector import Decoder, Encoder, Geometry, MaskHead, Scoring, places_of
from backend.families.sam3.interactive import NONE, Masks, Prompts, Segmented
from backend.families.sam3.parts import corners, tokens
from backend.families.sam3.sizes import Sam3Sizes
from backend.families.sam3.vision import Vision
from backend.nn.layers import Layer, Linear


@dataclass(frozen=True)
class Detected:
    """Candidates for objects in one picture, and what their masks are made of."""

    scores: Tensor
    """Logits [B, Q], float32, of each being what was asked for, if that is there at all."""
    boxes: Tensor
    """[B, Q, 4]: left, top, right, bottom in 0..1, float32."""
    present: Tensor
    """Logits [B] of there being any."""
    queries: Tensor
    pixels: Tensor

    def sure(self) -> Tensor:
        """How likely each candidate is what was asked for: [B, Q] in 0..1."""
        return self.scores.sigmoid() * self.present.sigmoid()[:, None]


class Sam3(Layer):
    """Called in steps, since what was seen serves for many prompts: `look`, then `pyramid`, then `detect` and `masks` or `segment`."""

    def __init__(self, sizes: Sam3Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.vision = Vision(sizes)
        self.resizer = Linear(sizes.text, sizes.hidden)
        self.geometry, self.encoder, self.decoder = Geometry(sizes), Encoder(sizes), Decoder(sizes)
        self.scoring, self.segmentation = Scoring(sizes), MaskHead(sizes)
        if sizes.interactive:
            self.prompts, self.mask_decoder = Prompts(sizes), Masks(sizes)
            self.no_mem_embed = nn.Parameter(torch.empty(1, 1, sizes.hidden))

    def look(self, pixels: Tensor) -> Tensor:
        """Pictures [B, 3, side, side] in -1..1 -> features [B, width, H, W]."""
        return self.vision.trunk(pixels)

    def pyramid(self, seen: Tensor, interactive: bool = False) -> list[Tensor]:
        """The three levels, finest first, [B, hidden, ...] for `detect`, or for `segment`."""
        convs = self.vision.interactive_convs if interactive else self.vision.convs
        assert convs is not None
        levels = [conv(seen) for conv in convs]
        if interactive:
            levels[-1] = levels[-1] + self.get("no_mem_embed", seen).reshape(1, -1, 1, 1)
        return levels

    def detect(self, levels: Sequence[Tensor], text: Tensor, real: Tensor, boxes: Tensor | None = None) -> Detected:
        """Candidates for what a text [B, S, text width] means, whose tokens in `real` [B, S] are no padding; it, or examples in boxes
        [B, N, 4] (centre, width and height in 0..1). Without `boxes` the prompt has no token of theirs, with none in them it has one."""
        coarse, at = levels[-1], places_of(levels[-1])
        prompt = self.resizer(text)
        if boxes is not None:
            examples = self.geometry(boxes, coarse, at)
            prompt, real = torch.cat([prompt, examples], dim=1), F.pad(real, (0, examples.shape[1]), value=True)
        mask = None if bool(real.all()) else real[:, None, None]
        heard = self.encoder(tokens(coarse), at, prompt, mask)
        rows, columns = coarse.shape[-2:]
        queries, found, present = self.decoder(heard, at, (rows, columns), prompt, mask)
        pixels = self.segmentation.pixels(levels, heard, prompt, mask)
        return Detected(self.scoring(queries, prompt, real), corners(found), present, queries, pixels)

    def masks(self, found: Detected, kept: Tensor) -> Tensor:
        """Logits [N, H, W] of the masks of the candidates `kept` [N] of one picture."""
        logits: Tensor = self.segmentation(found.queries[:, kept], found.pixels)[0]
        return logits.float()

    def segment(
        self, levels: Sequence[Tensor], points: Tensor | None, kinds: Tensor | None, mask: Tensor | None, several: bool
    ) -> Segmented:
        """What points [B, N, 2] of `kinds` [B, N] (see interactive) and a rough mask [B, 1, 4 H, 4 W] mean in pyramids for this."""
        coarse = levels[-1]
        if points is None or kinds is None:
            points = torch.zeros(len(coarse), 1, 2, device=coarse.device)
            kinds = torch.full((len(coarse), 1), NONE, device=coarse.device)
        embedded = self.prompts.points(points, kinds, coarse.dtype)
        places = self.prompts.everywhere(coarse.device, coarse.dtype)
        return self.mask_decoder(levels, embedded, self.prompts.mask(mask, coarse), places, several)
