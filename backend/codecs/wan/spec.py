"""Which causal autoencoder a file holds, and the handle that takes pictures and films through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.codecs.kl.spec import PREFIXES, Check, OnTile, VaeHandle, between, opened
from backend.codecs.tiling import tiled
from backend.codecs.wan.levels import LevelAutoencoder
from backend.codecs.wan.names import from_diffusers, levels_from_diffusers
from backend.codecs.wan.net import SPAN, WanAutoencoder, WanSizes
from backend.memory.pool import Pool
from backend.weights.detect import count
from backend.weights.file import Header, Renamed, WeightFile

MARK = "encoder.downsamples.0.residual.2.weight"
OTHER = "encoder.down_blocks.0.conv1.weight"
"""The same weight in diffusers' spelling."""

LEVEL = "encoder.downsamples.0.downsamples.0.residual.2.weight"
LEVEL_OTHER = "encoder.down_blocks.0.resnets.0.conv1.weight"
"""The same in autoencoders whose levels have a second way."""
COLOURS = 3
# Frames of pixels that lie in memory at once, with what the convolutions keep of those before.
_FRAMES_ALIVE = 6


@dataclass(frozen=True)
class WanHandle(VaeHandle):
    """A VAE whose latents have time: [B, channels, T, h, w]. A picture is a film of one frame; several pictures are one film."""

    def working_bytes(self, height: int, width: int, dtype: torch.dtype) -> int:
        sizes = self.sizes
        assert isinstance(sizes, WanSizes)
        wide = max(sizes.channels, sizes.up_channels or 0)
        return super().working_bytes(height, width, dtype) * wide // (sizes.channels * sizes.patch**2)

    def encode(self, pixels: Tensor, pool: Pool, noise: Tensor | None = None, check: Callable[[], None] | None = None) -> Tensor:
        """One picture [1, H, W, C] in 0..1 -> [1, channels, 1, h, w]; T pictures, as the frames of a film, -> [1, channels, T', h, w] with
        T' = 1 + (T - 1) // 4, where what does not fill four frames at the end is left out. Else as VaeHandle.encode."""
        if len(pixels) == 1:
            return super().encode(pixels, pool, None if noise is None else noise[:, :, 0], check).unsqueeze(2)
        frames = self._film_of(pixels)
        if self._film_bytes(frames.shape[3], frames.shape[4]) > pool.of("vae").room():
            return self.encode_tiled(pixels, pool, on_tile=between(check))
        return self._film(lambda net, x: net.encode(x), frames, pool, frames.shape[3:], check)

    def encode_each(self, pixels: Tensor, pool: Pool) -> Tensor:
        """Pictures [N, H, W, C] that are no film -> [N, channels, 1, h, w]."""
        return super().encode(pixels, pool).unsqueeze(2)

    def decode(self, latent: Tensor, pool: Pool, check: Callable[[], None] | None = None, beside: Tensor | None = None) -> Tensor:
        """[B, channels, (1,) h, w] -> pictures [B, H, W, C]; [B, channels, T, h, w] -> films [B, 4 T - 3, H, W, C]. In 0..1."""
        latent = self._pictures(latent)
        if latent.ndim == 4:
            return super().decode(latent, pool, check, beside)
        height, width = latent.shape[3] * self.factor, latent.shape[4] * self.factor
        if self._film_bytes(height, width) > pool.of("vae").room():
            return self.decode_tiled(latent, pool, on_tile=between(check))
        films = [self._film(lambda net, x: net.decode(x), one, pool, (height, width), check) for one in torch.split(latent, 1)]
        return _films(torch.cat(films))

    def encode_tiled(self, pixels: Tensor, pool: Pool, tile: int = 512, overlap: int = 64, on_tile: OnTile | None = None) -> Tensor:
        if len(pixels) == 1:
            return super().encode_tiled(pixels, pool, tile, overlap, on_tile).unsqueeze(2)
        frames, f = self._film_of(pixels), self.factor

        def run(top: int, left: int, height: int, width: int) -> Tensor:
            part = frames[..., top * f : (top + height) * f, left * f : (left + width) * f]
            return self._smallest(lambda: self._film(lambda net, x: net.encode(x), part, pool, part.shape[3:])).flatten(1, 2)

        made = tiled(run, frames.shape[3] // f, frames.shape[4] // f, tile // f, overlap // f, on_tile=on_tile)
        return torch.unflatten(made, 1, (self.channels, -1))

    def decode_tiled(
        self, latent: Tensor, pool: Pool, tile: int = 512, overlap: int = 64, on_tile: OnTile | None = None, beside: Tensor | None = None
    ) -> Tensor:
        latent, f = self._pictures(latent), self.factor
        if latent.ndim == 4:
            return super().decode_tiled(latent, pool, tile, overlap, on_tile, beside)

        def run(top: int, left: int, height: int, width: int) -> Tensor:
            part = latent[..., top : top + height, left : left + width]
            return self._smallest(lambda: self._film(lambda net, x: net.decode(x), part, pool, (height * f, width * f))).flatten(1, 2)

        made = tiled(run, latent.shape[3], latent.shape[4], tile // f, overlap // f, scale=f, on_tile=on_tile)
        return _films(torch.unflatten(made, 1, (-1, (latent.shape[2] - 1) * SPAN + 1)))

    def _film_bytes(self, height: int, width: int) -> int:
        return _FRAMES_ALIVE * self.working_bytes(height, width, self.loadable.dtype)

    def _film(
        self, run: Callable[[Any, Tensor], Tensor], x: Tensor, pool: Pool, size: tuple[int, ...] | torch.Size, check: Check | None = None
    ) -> Tensor:
        """`run` over a film [B, C, T, H, W] with `size` pixels a frame, float32 on the CPU. `check` is called before each of its pieces."""
        pool = pool.of("vae")
        with torch.inference_mode(), pool.lease(self.loadable, self._film_bytes(size[0], size[1])) as net, _asking(net, check):
            out = run(net, x.to(pool.device, self.loadable.dtype)).float().cpu()
        return out.clone()  # a plain tensor, free of inference mode

    def _pixels(self, pixels: Tensor) -> Tensor:
        """As VaeHandle's; a picture without transparency is opaque to a net that knows of it."""
        return super()._pixels(opaque(pixels) if self.sizes.in_channels == COLOURS + 1 else pixels)

    def _film_of(self, pixels: Tensor) -> Tensor:
        return self._pixels(pixels).transpose(0, 1).unsqueeze(0)

    def _pictures(self, latent: Tensor) -> Tensor:
        """Latents of one frame without their time. Raises BadInput for latents of another kind."""
        if latent.ndim not in (4, 5) or latent.shape[1] != self.channels:
            raise BadInput(
                f"This VAE decodes latents of {self.channels} channels, with or without frames; got the shape {list(latent.shape)}.",
                hint="Latent and VAE must belong to the same kind of model.",
            )
        return latent[:, :, 0] if latent.ndim == 5 and latent.shape[2] == 1 else latent


@contextmanager
def _asking(net: Any, check: Check | None) -> Iterator[None]:
    """Within it `check` is called whenever one of the halves begins with a piece of a film."""
    if check is None:
        yield
        return
    ask = check
    with ExitStack() as stack:
        for half in (net.encoder, net.decoder):
            stack.enter_context(half.register_forward_pre_hook(lambda half, given: ask()))
        yield


def opaque(pixels: Tensor) -> Tensor:
    """Pictures [B, H, W, C] in 0..1 with transparency: colours without any hide what is behind."""
    return torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1) if pixels.ndim == 4 and pixels.shape[3] == COLOURS else pixels


def _films(x: Tensor) -> Tensor:
    """[B, C, T, H, W] in -1..1 -> [B, T, H, W, C] in 0..1."""
    return (x.permute(0, 2, 3, 4, 1) / 2 + 0.5).clamp(0, 1).contiguous()


def find(header: Header) -> dict[str, str]:
    """Net parameter name -> key in the file: a checkpoint, a stand-alone VAE or one in the diffusers layout; empty when there is none."""
    for prefix in PREFIXES:
        inner = {key[len(prefix) :]: key for key in header if key.startswith(prefix)}
        if MARK in inner or _has(header, inner, LEVEL):
            return {name: key for name, key in inner.items() if name.startswith(("encoder.", "decoder.", "conv1.", "conv2."))}
        for mark, spelling in ((OTHER, from_diffusers), (LEVEL_OTHER, levels_from_diffusers)):
            if _has(header, inner, mark):
                return {name: inner[key] for name, key in spelling(inner).items()}
    return {}


def _has(header: Header, inner: dict[str, str], mark: str) -> bool:
    """Whether there is a convolution over time of that name."""
    return mark in inner and len(header[inner[mark]].shape) == 5


def sizes_of(header: Header) -> WanSizes:
    """Sizes from shapes under single-file names. Raises KeyError naming a parameter that is missing."""
    if LEVEL in header:
        return level_sizes(header)
    channels, in_channels = header["encoder.conv1.weight"].shape[:2]
    widths: list[list[int]] = [[]]
    temporal: list[bool] = []
    for i in range(count(header, "encoder.downsamples")):
        start = f"encoder.downsamples.{i}"
        if f"{start}.resample.1.weight" in header:
            temporal.append(f"{start}.time_conv.weight" in header)
            widths.append([])
        else:
            widths[-1].append(header[f"{start}.residual.6.weight"].shape[0])
    return WanSizes(
        channels=channels,
        channel_mult=tuple(level[0] // channels for level in widths),
        res_blocks=len(widths[0]),
        z_channels=header["conv2.weight"].shape[0],
        in_channels=in_channels,
        temporal=tuple(temporal),
    )


def level_sizes(header: Header) -> WanSizes:
    """The same where levels have a second way: those of Wan 2.2 work on squares of 2 x 2 pixels with three colours."""
    channels, taken = header["encoder.conv1.weight"].shape[:2]
    levels, patch = range(count(header, "encoder.downsamples")), 2
    widths = [header[f"encoder.downsamples.{i}.downsamples.0.residual.2.weight"].shape[0] for i in levels]
    inside = "encoder.downsamples.0.downsamples"
    blocks = sum(f"{inside}.{i}.residual.2.weight" in header for i in range(count(header, inside)))
    return WanSizes(
        channels=channels,
        channel_mult=tuple(width // channels for width in widths),
        res_blocks=blocks,
        z_channels=header["conv2.weight"].shape[0],
        in_channels=taken // patch**2,
        temporal=tuple(f"encoder.downsamples.{i}.downsamples.{blocks}.time_conv.weight" in header for i in levels[:-1]),
        patch=patch,
        up_channels=header["decoder.conv1.weight"].shape[0] // (widths[-1] // channels),
    )


def net_of(sizes: WanSizes) -> WanAutoencoder:
    """The autoencoder of these sizes."""
    return WanAutoencoder(sizes) if sizes.up_channels is None else LevelAutoencoder(sizes)


def from_file(file: WeightFile, dtype: torch.dtype = torch.float32) -> WanHandle | None:
    """The causal autoencoder in `file`, or None where it holds none. Reads no weight. Raises BadFile for one that is incomplete."""
    names = find(file)
    if not names:
        return None
    return opened(file, Renamed(file, names), sizes_of, net_of, WanHandle, dtype)
