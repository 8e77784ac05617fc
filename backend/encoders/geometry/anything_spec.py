"""Which Depth Anything 3 a file holds, and the depth of pictures."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadFile, UnknownModel
from backend.encoders.dino import dino_sizes
from backend.encoders.geometry.anything import AnythingNet, AnythingSizes, Seen
from backend.memory.pool import Loadable, Pool
from backend.weights.file import Views, WeightFile, identity
from backend.weights.keymap import MappedNames, Rename, apply
from backend.weights.open import open_weights

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RULES = (Rename(r"(?:model\.)*((?:backbone\.pretrained|head)\..*)", r"\1"),)
LOOKS = {12: (6, 8, 10, 12), 24: (12, 16, 20, 24)}
"""After how many layers nets for any number of views look in, by depth."""
ALONE = (5, 12, 18, 24)
"""The same for those for one picture, all of which are large."""
SKY = 0.3
"""From here on a pixel is sky."""
FARTHEST = 0.99
"""Sky is as far as this share of the rest."""
ENOUGH = 10
"""So many pixels are needed of either to tell sky from the rest."""


@dataclass(frozen=True)
class Depths:
    """What was found of pictures, each [B, H, W]; None for what the net does not say."""

    depth: Tensor
    sky: Tensor | None = None
    confidence: Tensor | None = None

    def clipped(self) -> Tensor:
        """Depth whose sky is as far as what is farthest beside it."""
        if self.sky is None:
            return self.depth
        found = self.depth.clone()
        for depth, is_sky in zip(found, self.sky >= SKY, strict=True):
            if min(int(is_sky.sum()), int((~is_sky).sum())) > ENOUGH:
                depth[is_sky] = float(depth[~is_sky].sort().values[int(FARTHEST * (int((~is_sky).sum()) - 1))])
        return found


@dataclass(frozen=True)
class AnythingModel:
    """One Depth Anything 3."""

    loadable: Loadable
    sizes: AnythingSizes

    @torch.no_grad()
    def depths(self, images: Tensor, pool: Pool, side: int = 504, by_longer: bool = True, done: Callable[[], None] | None = None) -> Depths:
        """Of `images` [B, H, W, 3] in 0..1, each seen alone with its longer (or shorter) side near `side`."""
        size = seen_size(images.shape[1], images.shape[2], side, by_longer, self.sizes.dino.patch)
        mean, deviation = torch.tensor(MEAN).reshape(3, 1, 1), torch.tensor(DEVIATION).reshape(3, 1, 1)
        found: list[list[Tensor]] = []
        for image in images:
            pixels = F.interpolate(image[None, ..., :3].movedim(-1, 1).float(), size, mode="bicubic", antialias=True).clamp(0, 1)
            with pool.lease(self.loadable, self._working(size)) as net:
                seen: Seen = net(((pixels - mean) / deviation).to(pool.device, self.loadable.dtype))
            found.append([F.interpolate(x[:, None].float().cpu(), images.shape[1:3], mode="bilinear")[0, 0] for x in seen])
            if done is not None:
                done()
        depth, beside = (torch.stack(list(each)) for each in zip(*found, strict=True))
        return Depths(depth, confidence=beside) if self.sizes.views else Depths(depth, sky=beside)

    def _working(self, size: tuple[int, int]) -> int:
        places = size[0] * size[1]
        dino = self.sizes.dino
        return self.loadable.dtype.itemsize * (places // dino.patch**2 * (dino.width * 12 + dino.mlp) + 3 * places * self.sizes.fusion)


def seen_size(height: int, width: int, side: int, by_longer: bool, patch: int) -> tuple[int, int]:
    """Rows and columns: one side near `side`, the aspect kept, both rounded to patches."""
    scale = side / (max if by_longer else min)(height, width)
    rows, columns = (max(patch, (round(n * scale) + patch // 2) // patch * patch) for n in (height, width))
    return rows, columns


def load_anything(path: Path | str, dtype: torch.dtype = torch.float32) -> AnythingModel:
    """Depth Anything 3: mono, metric, small, base or large, in the authors' names. Raises MissingFile, BadFile, UnknownModel."""
    file = open_weights(path)
    mapped = MappedNames(file, apply(RULES, file).parts)
    try:
        sizes = _sizes(mapped)
        with torch.device("meta"):
            net = AnythingNet(sizes)
        odd = next((name for name, p in net.named_parameters() if mapped[name].shape != tuple(p.shape)), None)
    except KeyError as error:
        text = f"{file.path.name} is no Depth Anything 3 that is known: it has no {error.args[0]}."
        hint = "Known are mono, metric, small, base and large, for example depth_anything_3_mono_large.safetensors."
        raise UnknownModel(text, hint=hint, file=file.path) from error
    if odd is not None:
        raise BadFile(f"{file.path.name} is a depth model whose {odd} has an unexpected shape.", hint="It is damaged.", file=file.path)
    return AnythingModel(Loadable(f"{identity(file)}#depth3", functools.partial(AnythingNet, sizes), Views(mapped), dtype=dtype), sizes)


def _sizes(file: WeightFile) -> AnythingSizes:
    dino = dino_sizes(file, "backbone.pretrained.", norm=1e-5)
    evenly = dino.taken
    looks = ALONE if dino.several is None and dino.layers == ALONE[-1] else LOOKS.get(dino.layers, evenly)
    first, second, third, last = (file[f"head.projects.{i}.weight"].shape[0] for i in range(4))
    return AnythingSizes(
        dino=dino_sizes(file, "backbone.pretrained.", looks, norm=1e-5),
        neck=(first, second, third, last),
        fusion=file["head.scratch.layer1_rn.weight"].shape[0],
        head=file["head.scratch.output_conv2.0.weight"].shape[0],
    )
