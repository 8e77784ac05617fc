"""Which depth model a file holds, and depth maps of pictures."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadFile, UnknownModel
from backend.encoders.depth.names import RULES
from backend.encoders.depth.net import DepthNet, DepthSizes
from backend.encoders.depth.resnet import StageSizes
from backend.memory.pool import Loadable, Pool
from backend.weights.detect import count
from backend.weights.file import Views, WeightFile, identity
from backend.weights.keymap import MappedNames, apply
from backend.weights.open import open_weights

SPREAD = {12: (3, 6, 9, 12), 24: (5, 12, 18, 24), 40: (10, 20, 30, 40)}
"""After which layers Depth Anything 2 looks in, by depth; version 1 takes the last four."""
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CENTRED = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
HEAD_WIDTH = 64
HYBRID_PATCH = 16
CONVOLUTIONS = "backbone.convolutions"


@dataclass(frozen=True)
class DepthModel:
    """One depth model."""

    loadable: Loadable
    sizes: DepthSizes

    @torch.no_grad()
    def depth(self, images: Tensor, pool: Pool, side: int = 0) -> Tensor:
        """Depth of `images` [B, H, W, 3] in 0..1 as [B, H, W], larger is nearer, each from 0 to 1.

        Pictures are seen with their shorter side near `side`, or as the model was trained when that is 0.
        """
        found = []
        for image in images:
            pixels = prepared(image.unsqueeze(0), self.sizes, side)
            with pool.lease(self.loadable, self._working(pixels)) as net:
                depth: Tensor = net(pixels.to(pool.device, self.loadable.dtype)).float().cpu()
            depth = F.interpolate(depth.unsqueeze(1), images.shape[1:3], mode="bilinear", align_corners=True)[0, 0]
            low, high = depth.aminmax()
            found.append((depth - low) / (high - low).clamp(min=1e-6))
        return torch.stack(found)

    def _working(self, pixels: Tensor) -> int:
        places = pixels.shape[2] * pixels.shape[3]
        fine = sum(stage.outer for stage in self.sizes.stages) // 4
        return 4 * (places // self.sizes.patch**2 * self.sizes.width * 12 + places * (self.sizes.fusion + self.sizes.head + fine))


def prepared(images: Tensor, sizes: DepthSizes, side: int = 0) -> Tensor:
    """[B, H, W, 3] in 0..1 -> [B, 3, h, w] normalised as the model was trained, both sides rounded to what it can see."""
    height, width = images.shape[1:3]
    scale = (side or sizes.trained) / min(height, width)
    # halved and doubled again between a grid and the next coarser one, an odd number of places would not come out where DPT expects it
    multiple = 2 * sizes.patch if sizes.readout else sizes.patch
    size = [max(1, round(n * scale / multiple)) * multiple for n in (height, width)]
    x = F.interpolate(images[..., :3].movedim(-1, 1).float(), size, mode="bicubic", antialias=True).clamp(0, 1)
    mean, deviation = CENTRED if sizes.readout else IMAGENET
    return (x - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(deviation).reshape(3, 1, 1)


def load_depth_model(path: Path | str, dtype: torch.dtype = torch.float32) -> DepthModel:
    """Depth Anything 1 or 2 (small, base, large), DPT-Large or DPT-Hybrid of MiDaS 3, in the authors' names or those of transformers,
    alone or as a folder.

    Raises MissingFile, BadFile, UnknownModel.
    """
    file = open_weights(path)
    mapped = MappedNames(file, apply(RULES, file).parts)
    try:
        sizes = _sizes(mapped)
        with torch.device("meta"):
            net = DepthNet(sizes)
        odd = next((name for name, p in net.named_parameters() if mapped[name].shape != tuple(p.shape)), None)
    except KeyError as error:
        hint = (
            "Depth Anything in its small, base and large sizes and DPT-Large and DPT-Hybrid of MiDaS 3 are known, "
            "for example depth_anything_v2_vits.safetensors or dpt_large_384.pt."
        )
        text = f"{file.path.name} is no depth model that is known: it has no {error.args[0]}."
        raise UnknownModel(text, hint=hint, file=file.path) from error
    if odd is not None:
        raise BadFile(f"{file.path.name} is a depth model whose {odd} has an unexpected shape.", hint="It is damaged.", file=file.path)
    return DepthModel(Loadable(f"{identity(file)}#depth", functools.partial(DepthNet, sizes), Views(mapped), dtype=dtype), sizes)


def _sizes(file: WeightFile) -> DepthSizes:
    width, layers = file["backbone.cls_token"].shape[-1], count(file, "backbone.layers")
    readout = "neck.readings.3.readout.weight" in file
    stages = tuple(_stage(file, f"{CONVOLUTIONS}.stages.{i}") for i in range(count(file, f"{CONVOLUTIONS}.stages")))
    first, second, third, last = (file[f"neck.convs.{i}.weight"].shape[1] for i in range(4))
    return DepthSizes(
        width=width,
        layers=layers,
        heads=max(1, width // HEAD_WIDTH),
        mlp=file["backbone.layers.0.fc1.weight"].shape[0],
        positions=file["backbone.position_embeddings"].shape[1],
        neck=(first, second, third, last),
        fusion=file["neck.convs.0.weight"].shape[0],
        head=file["head.conv2.weight"].shape[0],
        taken=_taken_by_dpt(file, layers)[-2 if stages else -4 :] if readout else _taken(file, layers),
        patch=HYBRID_PATCH if stages else file["backbone.patches.weight"].shape[-1],
        scaled="backbone.layers.0.scale1" in file,
        normed=not readout,
        readout=readout,
        bicubic=not readout,
        stem=file[f"{CONVOLUTIONS}.stem.weight"].shape[0] if stages else 0,
        stages=stages,
    )


def _stage(file: WeightFile, name: str) -> StageSizes:
    return StageSizes(file[f"{name}.0.conv1.weight"].shape[0], file[f"{name}.0.conv3.weight"].shape[0], count(file, name))


def _said(file: WeightFile, layers: int, *keys: str, start: int) -> tuple[int, int, int, int] | None:
    """After which layers a configuration beside the file has the head look in, counting them from `start`; None where it does not say."""
    try:
        found: Any = json.loads((file.path.parent / "config.json").read_text("utf-8"))
        for key in keys:
            found = found[key]
        one, two, three, four = (int(i) + 1 - start for i in found)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a file on its own
    return (one, two, three, four) if 0 < one < two < three < four <= layers else None


def _taken_by_dpt(file: WeightFile, layers: int) -> tuple[int, int, int, int]:
    """Evenly spread, unless a configuration beside the file says otherwise."""
    said = _said(file, layers, "backbone_out_indices", start=0)
    return said or (layers // 4, layers // 2, layers * 3 // 4, layers)


def _taken(file: WeightFile, layers: int) -> tuple[int, int, int, int]:
    """What a configuration beside the file says; else by the file's name, since shapes do not tell the versions apart."""
    said = _said(file, layers, "backbone_config", "out_indices", start=1)
    if said is not None:
        return said
    name = file.path.name.lower()
    is_first = "depth_anything_vit" in name or "depth-anything-vit" in name
    last = (layers - 3, layers - 2, layers - 1, layers)
    return last if is_first else SPREAD.get(layers, last)
