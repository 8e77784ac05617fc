"""Which KL autoencoder a file holds, read from names and shapes, and the handle that encodes and decodes with it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from backend.base.errors import BadFile, BadInput, OutOfMemory
from backend.codecs.kl.names import from_diffusers
from backend.codecs.kl.net import AutoencoderKL, KLSizes
from backend.codecs.tiling import tiled
from backend.memory.pool import Loadable, Pool
from backend.weights.detect import MALFORMED, count
from backend.weights.file import Header, Views, WeightFile, identity
from backend.weights.keymap import MappedNames, Part

PREFIXES = ("first_stage_model.", "vae.", "")
OnTile = Callable[[int, int], None]
"""Told of each tile: how many are done, of how many."""
Check = Callable[[], None]
"""Raises what is to end the run."""
S = TypeVar("S")
H = TypeVar("H")

# Values alive per pixel at the peak, in units of the base width: the widest map at full resolution, its norm and the convolution's result.
_PEAK = 8
_TILE, _OVERLAP = 512, 64


class PixelSizes(Protocol):
    """What is asked of an autoencoder's sizes, of whatever kind it is."""

    @property
    def factor(self) -> int: ...
    @property
    def embed_dim(self) -> int: ...
    @property
    def in_channels(self) -> int: ...
    @property
    def channels(self) -> int: ...


@dataclass(frozen=True)
class VaeHandle:
    """What travels on a VAE wire. Latents here are as the autoencoder makes them: no model's scale is applied."""

    loadable: Loadable
    """Of a net with `encode(pixels, noise)` and `decode(latent)` or `decode(latent, beside)`, pixels in -1..1."""
    sizes: PixelSizes

    @property
    def factor(self) -> int:
        """Pixels per latent cell on a side."""
        return self.sizes.factor

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return self.sizes.embed_dim

    def working_bytes(self, height: int, width: int, dtype: torch.dtype) -> int:
        """Memory one image of this many pixels needs beside the weights."""
        return _PEAK * self.sizes.channels * height * width * dtype.itemsize

    def encode(self, pixels: Tensor, pool: Pool, noise: Tensor | None = None, check: Callable[[], None] | None = None) -> Tensor:
        """[B, H, W, C] in 0..1 -> latent [B, channels, H / factor, W / factor], float32 on the CPU.

        Sides are cropped evenly to multiples of the factor; channels beyond those the net takes (three; more where it knows depth) are
        dropped. The mean of the latent, or with
        `noise` a sample. `check` is called between images, or tiles, and may raise. Falls back to tiles where memory does not suffice.
        """
        pool, x = pool.of("vae"), self._pixels(pixels)
        if self.working_bytes(x.shape[2], x.shape[3], self.loadable.dtype) > pool.room():
            return self.encode_tiled(pixels, pool, on_tile=between(check))
        try:
            return self._each(x, noise, pool, check, _encode)
        except _OUT_OF_MEMORY as error:
            _reraise_other(error)
        pool.lowered(self.loadable.key, "encodes in tiles")
        return self.encode_tiled(pixels, pool, on_tile=between(check))

    def beside(self, latent: Tensor) -> Tensor | None:
        """What the net needs besides this latent where nothing is given."""
        return None

    def decode(self, latent: Tensor, pool: Pool, check: Callable[[], None] | None = None, beside: Tensor | None = None) -> Tensor:
        """Latent [B, channels, h, w] -> pixels [B, h * factor, w * factor, 3 or what the net gives] in 0..1, float32 on the CPU.

        `beside` [B, C, h * factor, w * factor] is what some nets need besides the latent.
        """
        self._check_latent(latent)
        pool, beside = pool.of("vae"), self.beside(latent) if beside is None else beside
        height, width = latent.shape[2] * self.factor, latent.shape[3] * self.factor
        if self.working_bytes(height, width, self.loadable.dtype) > pool.room():
            return self.decode_tiled(latent, pool, on_tile=between(check), beside=beside)
        try:
            return _to_pixels(self._each(latent, beside, pool, check, _decode))
        except _OUT_OF_MEMORY as error:
            _reraise_other(error)
        pool.lowered(self.loadable.key, "decodes in tiles")
        return self.decode_tiled(latent, pool, on_tile=between(check), beside=beside)

    def encode_tiled(self, pixels: Tensor, pool: Pool, tile: int = _TILE, overlap: int = _OVERLAP, on_tile: OnTile | None = None) -> Tensor:
        """As `encode`, in tiles of `tile` pixels that overlap by `overlap` pixels and are blended."""
        x, f = self._pixels(pixels), self.factor

        def run(top: int, left: int, height: int, width: int) -> Tensor:
            part = x[:, :, top * f : (top + height) * f, left * f : (left + width) * f]
            return self._smallest(lambda: self._each(part, None, pool, None, _encode))

        return tiled(run, x.shape[2] // f, x.shape[3] // f, tile // f, overlap // f, on_tile=on_tile)

    def decode_tiled(
        self, latent: Tensor, pool: Pool, tile: int = _TILE, overlap: int = _OVERLAP, on_tile: OnTile | None = None,
        beside: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """As `decode`, in tiles of `tile` pixels that overlap by `overlap` pixels and are blended."""
        self._check_latent(latent)
        beside = self.beside(latent) if beside is None else beside
        f = self.factor

        def run(top: int, left: int, height: int, width: int) -> Tensor:
            part = latent[:, :, top : top + height, left : left + width]
            here = None if beside is None else beside[:, :, top * f : (top + height) * f, left * f : (left + width) * f]
            return self._smallest(lambda: self._each(part, here, pool, None, _decode))

        return _to_pixels(tiled(run, latent.shape[2], latent.shape[3], tile // f, overlap // f, scale=f, on_tile=on_tile))

    def _smallest(self, run: Callable[[], Tensor]) -> Tensor:
        try:
            return run()
        except _OUT_OF_MEMORY as error:
            _reraise_other(error)
            raise OutOfMemory("There is not enough memory for one tile of this image.", hint="Use a smaller tile size.") from error

    def _each(self, x: Tensor, noise: Tensor | None, pool: Pool, check: Callable[[], None] | None, run: Run) -> Tensor:
        """`run` over a batch, as many at a time as memory allows; again in float32 where a 16-bit dtype overflowed.

        `noise` is what the net is given besides x.
        """
        pool, dtype = pool.of("vae"), self.loadable.dtype
        scale = 1 if run is _encode else self.factor
        working = self.working_bytes(x.shape[2] * scale, x.shape[3] * scale, dtype)
        at_once = 1 if pool.device.type == "cpu" else max(1, min(len(x), pool.room() // 2 // max(1, working)))
        parts = []
        for start in range(0, len(x), at_once):
            if check is not None:
                check()
            chunk, chunk_noise = x[start : start + at_once], None if noise is None else noise[start : start + at_once]
            out = self._run(self.loadable, chunk, chunk_noise, pool, working * len(chunk), run)
            if dtype != torch.float32 and not bool(out.isfinite().all()):
                out = self._run(replace(self.loadable, dtype=torch.float32), chunk, chunk_noise, pool, working * len(chunk) * 2, run)
            parts.append(out)
        return torch.cat(parts)

    def _run(self, loadable: Loadable, x: Tensor, noise: Tensor | None, pool: Pool, working: int, run: Run) -> Tensor:
        with torch.inference_mode(), pool.lease(loadable, working) as net:
            x = x.to(pool.device, loadable.dtype).contiguous(memory_format=torch.channels_last)
            out = run(net, x, None if noise is None else noise.to(pool.device, loadable.dtype)).float().cpu()
        return out.clone()  # a plain tensor, free of inference mode

    def _pixels(self, pixels: Tensor) -> Tensor:
        """[B, H, W, C] in 0..1 -> [B, in_channels, H', W'] in -1..1 with sides that are multiples of the factor."""
        f, channels = self.factor, self.sizes.in_channels
        if pixels.ndim != 4 or pixels.shape[3] < channels:
            raise BadInput(f"An image batch [count, height, width, {channels} channels] is needed; got the shape {list(pixels.shape)}.")
        height, width = (pixels.shape[1] // f * f, pixels.shape[2] // f * f)
        if not height or not width:
            raise BadInput(f"The image is {pixels.shape[2]}x{pixels.shape[1]}; this VAE needs at least {f}x{f}.", hint="Scale it up first.")
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        return pixels[:, top : top + height, left : left + width, :channels].permute(0, 3, 1, 2) * 2 - 1

    def _check_latent(self, latent: Tensor) -> None:
        if latent.ndim != 4 or latent.shape[1] != self.channels:
            raise BadInput(
                f"This VAE decodes latents of {self.channels} channels; got the shape {list(latent.shape)}.",
                hint="Latent and VAE must belong to the same kind of model.",
            )


Run = Callable[[Any, Tensor, Tensor | None], Tensor]
_OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError, RuntimeError)


def _reraise_other(error: Exception) -> None:
    """Let an error through that is not about memory. The CPU allocator has no error type of its own."""
    if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "can't allocate memory" not in str(error):
        raise error


def _encode(net: Any, x: Tensor, noise: Tensor | None) -> Tensor:
    latent: Tensor = net.encode(x, noise)
    return latent


def _decode(net: Any, x: Tensor, noise: Tensor | None) -> Tensor:
    pixels: Tensor = net.decode(x) if noise is None else net.decode(x, noise)
    return pixels


def _to_pixels(x: Tensor) -> Tensor:
    return (x.permute(0, 2, 3, 1) / 2 + 0.5).clamp(0, 1).contiguous()


def find(header: Header) -> dict[str, Part]:
    """Net parameter name -> part of the file: a checkpoint, a stand-alone VAE or one in the diffusers layout; empty when there is none."""
    for prefix in PREFIXES:
        if _is_kl(header, prefix + "decoder.conv_in.weight"):
            if prefix + "decoder.mid.block_1.norm1.weight" in header:
                starts = tuple(prefix + part for part in ("encoder.", "decoder.", "quant_conv.", "post_quant_conv."))
                return {key[len(prefix) :]: Part(key) for key in header if key.startswith(starts)}
            inner = {key[len(prefix) :]: key for key in header if key.startswith(prefix)}
            return {name: replace(part, key=inner[part.key]) for name, part in from_diffusers(inner).items()}
    return {}


def _is_kl(header: Header, key: str) -> bool:
    return key in header and len(header[key].shape) == 4


def sizes_of(header: Header) -> KLSizes:
    """Sizes from shapes under single-file names. Raises KeyError naming a parameter that is missing."""
    channels, in_channels = header["encoder.conv_in.weight"].shape[:2]
    z = header["decoder.conv_in.weight"].shape[1]
    levels = count(header, "encoder.down")
    quant = "post_quant_conv.weight" in header
    return KLSizes(
        channels=channels,
        channel_mult=tuple(header[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] // channels for i in range(levels)),
        res_blocks=count(header, "encoder.down.0.block"),
        z_channels=z,
        in_channels=in_channels,
        out_channels=header["decoder.conv_out.weight"].shape[0],
        embed_dim=header["post_quant_conv.weight"].shape[1] if quant else z,
        double_z=header["encoder.conv_out.weight"].shape[0] == 2 * z,
        quant=quant,
    )


def from_file(file: WeightFile, dtype: torch.dtype = torch.float32) -> VaeHandle | None:
    """The KL autoencoder in `file`, or None where it holds none. Reads no weight. Raises BadFile for one that is incomplete."""
    parts = find(file)
    if not parts:
        return None
    return opened(file, MappedNames(file, parts), sizes_of, AutoencoderKL, VaeHandle, dtype)


def between(check: Check | None) -> OnTile | None:
    """`check` as what is told of tiles."""
    return None if check is None else lambda done, total: check()


def opened(
    file: WeightFile,
    named: WeightFile,
    sizes_of: Callable[[WeightFile], S],
    net: Callable[[S], torch.nn.Module],
    handle: Callable[[Loadable, S], H],
    dtype: torch.dtype,
) -> H:
    """The autoencoder of a file of which `named` is the view under the net's own names. Raises BadFile for one that is incomplete."""
    try:
        sizes = sizes_of(named)
        build = functools.partial(net, sizes)
        check(build, named)
    except MALFORMED as error:
        raise malformed(file, error) from error
    return handle(Loadable(f"{identity(file)}#vae", build, Views(named), dtype=dtype), sizes)


def malformed(file: WeightFile, error: Exception) -> BadFile:
    """A VAE whose sizes could not be read: the error names the missing weight, or says which shapes make no sense."""
    if isinstance(error, KeyError):
        text = f"{file.path.name} holds a VAE without the weight {error.args[0]}."
        return BadFile(text, hint="The file is incomplete: fetch it again.", file=file.path)
    text = f"{file.path.name} holds a VAE whose shapes contradict each other ({error})."
    return BadFile(text, hint="The file is damaged: fetch it again.", file=file.path)


def check(build: Callable[[], torch.nn.Module], header: WeightFile) -> None:
    """Every weight the net asks for is there in its shape. Raises KeyError for a missing one, BadFile for a wrong shape."""
    with torch.device("meta"):
        net = build()
    for name, parameter in net.named_parameters():
        if header[name].shape != tuple(parameter.shape):
            raise BadFile(
                f"{header.path.name} holds a VAE whose weight {name} has the shape {list(header[name].shape)};"
                f" its other weights ask for {list(parameter.shape)}.",
                hint="The file is damaged or was merged from different models.",
                file=header.path,
            )
