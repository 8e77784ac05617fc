"""Nets that enlarge or restore pictures (ESRGAN, SwinIR, DAT ...): recognised and built by the library `spandrel`, read by our own files.

These nets are not ours and know no slots, so they are not leased: they go to the device for one picture and leave it again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadFile, OutOfMemory
from backend.codecs.tiling import tiled
from backend.memory.pool import Pool
from backend.weights.file import identity
from backend.weights.open import open_weights

TILE, SMALLEST, OVERLAP = 512, 64, 32
_WRAPPERS = ("model_state_dict.", "state_dict.", "params_ema.", "params-ema.", "params.", "model.", "net.")
_INNER = ("module.", "netG.")
OnTile = Callable[[int, int], None]


@dataclass(frozen=True)
class Upscaler:
    """A net of pictures to pictures `scale` times as large. `descriptor` is the library's own."""

    name: str
    scale: int
    descriptor: Any

    def run(self, images: Tensor, pool: Pool, on_tile: OnTile | None = None, tile: int = TILE) -> Tensor:
        """[B, H, W, C] in 0..1 -> [B, H * scale, W * scale, C], in tiles that halve while the device has too little memory."""
        device = pool.device
        net = self.descriptor.model
        pool_room(pool, self.descriptor)
        try:
            net.to(device)
            planes = images[..., : self.descriptor.input_channels].movedim(-1, 1)
            if planes.shape[1] < self.descriptor.input_channels:
                planes = planes[:, :1].expand(-1, self.descriptor.input_channels, -1, -1)
            made = self._smaller_until_it_fits(planes.float(), device, on_tile, tile)
        finally:
            net.to("cpu")
        return made.clamp_(0, 1).movedim(1, -1).contiguous()

    def _smaller_until_it_fits(self, planes: Tensor, device: torch.device, on_tile: OnTile | None, tile: int) -> Tensor:
        while True:
            try:
                return self._tiles(planes, device, on_tile, tile)
            except torch.OutOfMemoryError as error:
                tile //= 2
                if tile < SMALLEST:
                    raise OutOfMemory(
                        f"The device has too little memory for {self.name}, even in tiles of {tile * 2} pixels.",
                        hint="Free memory, or use a smaller model.",
                    ) from error

    def _tiles(self, planes: Tensor, device: torch.device, on_tile: OnTile | None, tile: int) -> Tensor:
        def run(top: int, left: int, height: int, width: int) -> Tensor:
            part = planes[:, :, top : top + height, left : left + width].to(device)
            with torch.inference_mode():
                rows = [self.descriptor(row.unsqueeze(0)) for row in part]
            return torch.cat(rows)

        return tiled(run, planes.shape[2], planes.shape[3], tile, min(OVERLAP, tile // 4), self.scale, on_tile)


def pool_room(pool: Pool, descriptor: Any) -> None:
    """Make room on a device that has its own memory: nets that nobody uses leave it."""
    size = sum(p.numel() * p.element_size() for p in descriptor.model.parameters())
    if pool.device.type != "cpu" and pool.room() < size * 2:
        pool.free()


def load(path: Path) -> Upscaler:
    """The net in a file of any kind of weights. Raises BadFile for files that hold no such net."""
    return _load(path, identity(open_weights(path)))


@functools.lru_cache(maxsize=2)
def _load(path: Path, mark: str) -> Upscaler:
    spandrel = library()
    file = open_weights(path)
    weights = {name: file.tensor(key) for name, key in plain_names(list(file)).items()}
    try:
        descriptor = spandrel.MAIN_REGISTRY.load(weights)
    except Exception as error:  # dozens of architectures, each with its own way to stumble over a damaged file
        hint = "Use an image model such as ESRGAN, SwinIR, DAT, SPAN or HAT."
        raise BadFile(f"{path.name} holds no upscale model that is known here.", hint=hint, file=path) from error
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        hint = "Use a model that takes one picture and nothing else."
        raise BadFile(f"{path.name} is a {descriptor.architecture.name} model, which needs a mask too.", hint=hint, file=path)
    descriptor.model.eval().requires_grad_(False)
    return Upscaler(path.name, int(descriptor.scale), descriptor)


def plain_names(keys: list[str]) -> dict[str, str]:
    """Name in the net -> name in the file: tables that training wraps around the weights are taken off."""
    for wrapper in _WRAPPERS:
        inside = [key for key in keys if key.startswith(wrapper)]
        if inside and (wrapper.startswith("params") or len(inside) == len(keys)):
            return {name: wrapper + key for name, key in plain_names([k.removeprefix(wrapper) for k in inside]).items()}
    for prefix in _INNER:
        if keys and all(key.startswith(prefix) for key in keys):
            return {key.removeprefix(prefix): key for key in keys}
    return {key: key for key in keys}


@functools.cache
def library() -> Any:
    """The module `spandrel`. Two of its nets import torchvision, whose wheel on the public index is built for CUDA: beside a CPU torch its
    compiled half is absent, and it imports only once the two operators that it describes exist by name. None of our nets calls them."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import spandrel

    return spandrel
