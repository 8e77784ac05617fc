"""Which MoGe a file holds, and the geometry of pictures."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from backend.base.errors import BadFile, UnknownModel
from backend.encoders.dino import dino_sizes
from backend.encoders.geometry.camera import focal_and_shift, on_rays
from backend.encoders.geometry.moge import HEADS, Geometry, MogeNet, MogeSizes, stack_sizes
from backend.memory.pool import Loadable, Pool
from backend.weights.detect import count
from backend.weights.file import Views, WeightFile, identity
from backend.weights.keymap import MappedNames, Rename, apply
from backend.weights.open import open_weights

RULES = (Rename(r"(?:model\.|module\.)*((?:encoder|neck|\w+_head)\..*)", r"\1"),)
PATCHES = (1200, 3600)
"""As how many patches pictures are seen at the lowest and the highest level of detail."""
LEVELS = 9
SURE = 0.5


@dataclass(frozen=True)
class Scene:
    """What was found of pictures; in metres where the net knows the scale."""

    points: Tensor
    """[B, H, W, 3]: across, down, away from the camera; infinite where nothing is."""
    mask: Tensor
    """[B, H, W] bool: whether something is there."""
    normals: Tensor | None
    """[B, H, W, 3] of length one, in the same axes; zero where nothing is."""
    focal: tuple[tuple[float, float], ...]
    """Across and down by picture, in its widths and heights."""
    pictures: Tensor
    """[B, H, W, 3] in 0..1."""

    @property
    def depth(self) -> Tensor:
        """[B, H, W]"""
        return self.points[..., 2]


@dataclass(frozen=True)
class MogeModel:
    """One MoGe."""

    loadable: Loadable
    sizes: MogeSizes

    @torch.no_grad()
    def scene(
        self, images: Tensor, pool: Pool, level: int = LEVELS, fov: float = 0.0, at_once: int = 4, on_camera: bool = True,
        masked: bool = True, done: Callable[[int], None] | None = None,
    ) -> Scene:  # fmt: skip
        """Of `images` [B, H, W, 3] in 0..1, seen at a level of detail from 0 to 9. `fov`: the horizontal angle of view in degrees, found
        where it is 0; `on_camera`: points are put on the rays of pixels; `masked`: what has no place is infinitely far away."""
        height, width = images.shape[1:3]
        rows, columns = patches(height, width, level)
        parts: list[tuple[Tensor, Tensor, Tensor | None, tuple[float, float]]] = []
        for some in torch.split(images[..., :3], max(1, at_once)):
            with pool.lease(self.loadable, self._working(len(some), rows, columns)) as net:
                said: Geometry = net(some.movedim(-1, 1).to(pool.device, self.loadable.dtype), rows, columns)
            points, normals, sure, scale = (None if x is None else x.float().cpu() for x in said)
            assert points is not None
            for i in range(len(some)):
                found = _settled(
                    points[i], None if sure is None else sure[i] > SURE, fov, on_camera, 1.0 if scale is None else float(scale[i])
                )
                parts.append((found[0], found[1], None if normals is None else normals[i], found[2]))
            if done is not None:
                done(len(parts))
        all_points, mask = torch.stack([part[0] for part in parts]), torch.stack([part[1] for part in parts])
        all_normals = torch.stack([part[2] for part in parts if part[2] is not None]) if parts[0][2] is not None else None
        if masked:
            all_points = torch.where(mask[..., None], all_points, math.inf)
            all_normals = None if all_normals is None else all_normals * mask[..., None]
        return Scene(all_points, mask, all_normals, tuple(part[3] for part in parts), images[..., :3])

    def _working(self, number: int, rows: int, columns: int) -> int:
        """The stacks' finest levels, and DINOv2's feed forward."""
        finest = max(stack.widths[-1] * stack.inner for stack in self.sizes.stacks.values())
        fine = 256 * (finest * 4 + 16)
        return self.loadable.dtype.itemsize * number * rows * columns * (fine + self.sizes.dino.width * 12 + self.sizes.dino.mlp)


def patches(height: int, width: int, level: int) -> tuple[int, int]:
    """Rows and columns of patches at a level of detail."""
    low, high = PATCHES
    number = int(low + level / LEVELS * (high - low))
    return max(1, round((number * height / width) ** 0.5)), max(1, round((number * width / height) ** 0.5))


def _settled(points: Tensor, sure: Tensor | None, fov: float, on_camera: bool, scale: float) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Points [H, W, 3] as a camera sees them, which of them are there, and its focal lengths."""
    height, width = points.shape[:2]
    diagonal = (height**2 + width**2) ** 0.5
    given = width / diagonal / math.tan(math.radians(fov) / 2) if fov > 0 else None
    focal, shift = focal_and_shift(points, sure, given)
    across, down = focal / 2 * diagonal / width, focal / 2 * diagonal / height
    points = points + torch.tensor([0.0, 0.0, shift])
    there = points[..., 2] > 0 if sure is None else sure & (points[..., 2] > 0)
    if on_camera:
        points = on_rays(points[..., 2], across, down)
    return points * scale, there, (across, down)


def load_moge(path: Path | str, dtype: torch.dtype = torch.float32) -> MogeModel:
    """MoGe 2, with or without normals, in the authors' names. Raises MissingFile, BadFile, UnknownModel."""
    file = open_weights(path)
    mapped = MappedNames(file, apply(RULES, file).parts)
    try:
        sizes = _sizes(mapped)
        with torch.device("meta"):
            net = MogeNet(sizes)
        odd = next((name for name, p in net.named_parameters() if mapped[name].shape != tuple(p.shape)), None)
    except (KeyError, ValueError, StopIteration, ZeroDivisionError) as error:
        reason = f": it has no {error.args[0]}" if isinstance(error, KeyError) else ""
        text = f"{file.path.name} is no MoGe that is known{reason}."
        raise UnknownModel(text, hint="MoGe 2 is known, for example moge_2_vitl_normal_fp16.safetensors.", file=file.path) from error
    if odd is not None:
        raise BadFile(f"{file.path.name} is a MoGe whose {odd} has an unexpected shape.", hint="It is damaged.", file=file.path)
    return MogeModel(Loadable(f"{identity(file)}#moge", functools.partial(MogeNet, sizes), Views(mapped), dtype=dtype), sizes)


def _sizes(file: WeightFile) -> MogeSizes:
    names = ("neck", *(name for name in HEADS if count(file, f"{name}.res_blocks") > 0 or name == "points_head"))
    layers = count(file, "scale_head")
    widths = [file[f"scale_head.{i}.weight"].shape for i in range(0, layers, 2)]
    return MogeSizes(
        dino=dino_sizes(file, "encoder.backbone."),
        width=file["encoder.output_projections.0.weight"].shape[0],
        stacks={name: stack_sizes(file, name) for name in names},
        scale=(widths[0][1], *(shape[0] for shape in widths)) if widths else (),
    )
