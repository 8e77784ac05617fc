"""From pictures and prompts to objects: what is seen of a picture, which candidates count, and masks at the picture's own size."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.families.sam3.interactive import APART, BOTTOM_RIGHT, ON, TOP_LEFT, Segmented
from backend.families.sam3.net import Sam3
from backend.families.sam3.sizes import LARGER

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
AROUND = 0.1
"""A mask is refined on what a box shows, and so much of its sides beyond each."""
FIRM = 32.0
"""Logits of a mask that is shown to the net again are kept within this."""


@dataclass(frozen=True)
class Phrase:
    """Something to look for."""

    text: Tensor
    """[1, T, width], from the text encoder."""
    real: Tensor
    """[1, T], bool: which tokens are no padding."""
    most: int
    """How many of it are wanted."""


@dataclass(frozen=True)
class Thing:
    """An object that was found."""

    mask: Tensor
    """[H, W], bool, on the CPU."""
    box: Box
    score: float
    """How sure the net is, 0..1."""


class View:
    """One picture [H, W, C] in 0..1, in colour or grey, as a leased net sees it. What was seen is kept for any number of prompts."""

    def __init__(self, net: Sam3, image: Tensor, device: torch.device, dtype: torch.dtype) -> None:
        self.net, self.device, self.dtype = net, device, dtype
        self.image = image[..., :3] if image.shape[2] > 2 else image[..., :1].expand(-1, -1, 3)
        self.rows, self.columns = image.shape[:2]

    @functools.cached_property
    def seen(self) -> Tensor:
        side = self.net.sizes.side
        pixels = self.image.movedim(-1, 0)[None].to(self.device, torch.float32).clamp(0, 1)
        pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True, align_corners=False)
        return self.net.look((pixels * 2 - 1).to(self.dtype))

    @functools.cached_property
    def finding(self) -> list[Tensor]:
        return self.net.pyramid(self.seen)

    @functools.cached_property
    def segmenting(self) -> list[Tensor]:
        return self.net.pyramid(self.seen, interactive=True)

    def find(self, phrase: Phrase, examples: Sequence[Box], threshold: float, refine: int) -> Iterator[Thing]:
        """Things that a phrase means, the surest first, where they are surer than `threshold`; `examples` show some of them.

        With `refine` each is looked at again closely, and its mask corrected so often.
        """
        boxes = torch.tensor([[self._scaled(box) for box in examples]], device=self.device).reshape(1, -1, 4)
        start, stop = boxes[..., :2], boxes[..., 2:]
        boxes = torch.cat([(start + stop) / 2, stop - start], dim=-1)
        text, real = phrase.text.to(self.device, self.dtype), phrase.real.to(self.device)
        found = self.net.detect(self.finding, text, real, boxes)
        sure = found.sure()[0]
        order = sure.argsort(descending=True)[: phrase.most]
        order = order[sure[order] > threshold]
        limits = found.boxes[0].clamp(0, 1).cpu() * torch.tensor([self.columns, self.rows] * 2)
        for i in order.tolist():
            rough = self.net.masks(found, torch.tensor([i], device=self.device))
            left, top, right, bottom = limits[i].tolist()
            box = (left, top, right, bottom)
            mask = self._full(rough) > 0
            if refine and self.net.sizes.interactive:
                mask |= self._closer(rough, box, refine)
            yield Thing(mask.cpu(), box, float(sure[i]))

    def pointed(self, on: Sequence[tuple[float, float]], apart: Sequence[tuple[float, float]], refine: int) -> Thing:
        """The object that has the points `on` it and the points `apart` from it, as x and y in pixels."""
        at = [self._scaled(point) for point in (*on, *apart)]
        return self._segmented(at, [ON] * len(on) + [APART] * len(apart), refine)

    def boxed(self, box: Box, refine: int) -> Thing:
        """The object in a box."""
        left, top, right, bottom = self._scaled(box)
        return self._segmented([(left, top), (right, bottom)], [TOP_LEFT, BOTTOM_RIGHT], refine)

    def _segmented(self, at: Sequence[Sequence[float]], kinds: Sequence[int], refine: int) -> Thing:
        """What points in 0..1 mean. The first pass counts as the first refinement; others see its mask beside the points."""
        points = torch.tensor([[[x * self.net.sizes.side, y * self.net.sizes.side] for x, y in at]], device=self.device)
        labels = torch.tensor([list(kinds)], device=self.device)
        found = self.net.segment(self.segmenting, points, labels, None, len(kinds) == 1)
        for _ in range(refine - 1):
            found = self.net.segment(self.segmenting, points, labels, _shown(found), several=False)
        mask = (self._full(found.best()[0]) > 0).cpu()
        return Thing(mask, _around(mask), float(found.quality[0].max()))

    def _closer(self, rough: Tensor, box: Box, passes: int) -> Tensor:
        """The mask [H, W] of what a box shows, seen at the net's full resolution, from logits [1, h, w] of a rough mask of it all."""
        left, top, right, bottom = box
        across, down = (right - left) * AROUND, (bottom - top) * AROUND
        x, y = max(0, math.floor(left - across)), max(0, math.floor(top - down))
        to_x, to_y = min(self.columns, math.ceil(right + across)), min(self.rows, math.ceil(bottom + down))
        mask = torch.zeros(self.rows, self.columns, dtype=torch.bool, device=self.device)
        if to_x <= x or to_y <= y:
            return mask
        near = View(self.net, self.image[y:to_y, x:to_x], self.device, self.dtype)
        logits = self._cut(rough, x, y, to_x, to_y)
        for _ in range(passes):
            found = self.net.segment(near.segmenting, None, None, logits, several=False)
            if float(found.present) <= 0:
                return mask
            logits = _shown(found)
        mask[y:to_y, x:to_x] = near._full(logits[0]) > 0
        return mask

    def _cut(self, rough: Tensor, x: int, y: int, to_x: int, to_y: int) -> Tensor:
        """A part of logits [1, h, w] of the whole picture, as large as a net takes them: [1, 1, side, side]."""
        side = 4 * LARGER * self.net.sizes.grid
        steps = (torch.arange(side, device=rough.device) + 0.5) / side
        across, down = (x + steps * (to_x - x)) / self.columns, (y + steps * (to_y - y)) / self.rows
        grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)[None] * 2 - 1
        return F.grid_sample(rough[None], grid, mode="bilinear", padding_mode="border", align_corners=False).clamp(-FIRM, FIRM)

    def _full(self, logits: Tensor) -> Tensor:
        """[1, h, w] -> [H, W]."""
        return F.interpolate(logits[None].float(), (self.rows, self.columns), mode="bilinear", align_corners=False)[0, 0]

    def _scaled(self, pixels: Sequence[float]) -> list[float]:
        """x, y, x, y ... in pixels -> the same in 0..1."""
        return [n / (self.rows if i % 2 else self.columns) for i, n in enumerate(pixels)]


def _shown(found: Segmented) -> Tensor:
    return found.best().clamp(-FIRM, FIRM)


def _around(mask: Tensor) -> Box:
    """The box around a mask [H, W]; of no size where it is empty."""
    columns, rows = mask.any(dim=0).nonzero(), mask.any(dim=1).nonzero()
    if not len(columns):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1]) + 1, float(rows[-1]) + 1
