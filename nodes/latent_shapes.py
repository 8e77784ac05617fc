"""Empty latents in the shapes of many model families, and cutting latents of films."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.graph.declare import Combo, Float, Int, node
from nodes.types import MAX_SIDE, Latent

v3 = partial(node, form="v3")


class Cascade(NamedTuple):
    stage_c: Latent
    stage_b: Latent


def _side(default: int, least: int, step: int) -> int:
    widget: int = Int(default, min=least, max=MAX_SIDE, step=step)
    return widget


def _length(default: int, step: int, least: int = 1) -> int:
    widget: int = Int(default, min=least, max=MAX_SIDE, step=step, tooltip="Frames.")
    return widget


def _count() -> int:
    widget: int = Int(1, min=1, max=4096)
    return widget


def empty(*shape: int, **more: Any) -> dict[str, Any]:
    """A latent of zeros."""
    return {"samples": torch.zeros(shape), **more}


@v3("EmptySD3LatentImage", category="latent/sd3", module="comfy_extras.nodes_sd3")
def empty_sd3(ctx: Context, *, width: int = _side(1024, 16, 16), height: int = _side(1024, 16, 16), batch_size: int = _count()) -> Latent:
    """Nothing yet, for models with 16 channels of latents (SD 3, Flux and others)."""
    return empty(batch_size, 16, height // 8, width // 8)


@node("EmptyFlux2LatentImage", title="Empty Flux 2 Latent", category="latent", module="comfy_extras.nodes_flux", form="v3")
def empty_flux2(ctx: Context, *, width: int = _side(1024, 16, 16), height: int = _side(1024, 16, 16), batch_size: int = _count()) -> Latent:
    """Nothing yet, for models with 128 channels of latents a sixteenth as large as the picture."""
    return empty(batch_size, 128, height // 16, width // 16)


@v3("EmptyChromaRadianceLatentImage", category="latent/chroma_radiance", module="comfy_extras.nodes_chroma_radiance")
def empty_pixels(
    ctx: Context, *, width: int = _side(1024, 16, 16), height: int = _side(1024, 16, 16), batch_size: int = _count()
) -> Latent:
    """Nothing yet, for models that work on pixels."""
    return empty(batch_size, 3, height, width)


@node("EmptyHunyuanLatentVideo", category="latent/video", module="comfy_extras.nodes_hunyuan")
def empty_hunyuan_video(
    ctx: Context,
    *,
    width: int = _side(848, 16, 16),
    height: int = _side(480, 16, 16),
    length: int = _length(25, 4),
    batch_size: int = _count(),
) -> Latent:
    """Nothing yet, for video models that keep four frames in a latent (Hunyuan Video, Wan)."""
    return empty(batch_size, 16, (length - 1) // 4 + 1, height // 8, width // 8)


@node("EmptyHunyuanImageLatent", category="latent", module="comfy_extras.nodes_hunyuan")
def empty_hunyuan_image(
    ctx: Context, *, width: int = _side(2048, 64, 32), height: int = _side(2048, 64, 32), batch_size: int = _count()
) -> Latent:
    """Nothing yet, for Hunyuan Image."""
    return empty(batch_size, 64, height // 32, width // 32)


@v3("EmptyLTXVLatentVideo", category="latent/video/ltxv", module="comfy_extras.nodes_lt")
def empty_ltxv(
    ctx: Context,
    *,
    width: int = _side(768, 64, 32),
    height: int = _side(512, 64, 32),
    length: int = _length(97, 8),
    batch_size: int = _count(),
) -> Latent:
    """Nothing yet, for LTX Video."""
    return empty(batch_size, 128, (length - 1) // 8 + 1, height // 32, width // 32)


@v3("EmptyMochiLatentVideo", category="latent/video", module="comfy_extras.nodes_mochi")
def empty_mochi(
    ctx: Context,
    *,
    width: int = _side(848, 16, 16),
    height: int = _side(480, 16, 16),
    length: int = _length(25, 6, 7),
    batch_size: int = _count(),
) -> Latent:
    """Nothing yet, for Mochi."""
    return empty(batch_size, 12, (length - 1) // 6 + 1, height // 8, width // 8)


@v3("EmptyCosmosLatentVideo", category="latent/video", module="comfy_extras.nodes_cosmos")
def empty_cosmos(
    ctx: Context,
    *,
    width: int = _side(1280, 16, 16),
    height: int = _side(704, 16, 16),
    length: int = _length(121, 8),
    batch_size: int = _count(),
) -> Latent:
    """Nothing yet, for Cosmos."""
    return empty(batch_size, 16, (length - 1) // 8 + 1, height // 8, width // 8)


@v3(
    "StableCascade_EmptyLatentImage",
    category="latent/stable_cascade",
    module="comfy_extras.nodes_stable_cascade",
    outputs=("stage_c", "stage_b"),
)
def empty_cascade(
    ctx: Context,
    *,
    width: int = _side(1024, 256, 8),
    height: int = _side(1024, 256, 8),
    compression: int = Int(42, min=4, max=128, step=1),
    batch_size: int = _count(),
) -> Cascade:
    """Nothing yet, for both stages of Stable Cascade."""
    return Cascade(empty(batch_size, 16, height // compression, width // compression), empty(batch_size, 4, height // 4, width // 4))


@node("EmptyLatentAudio", title="Empty Latent Audio", category="latent/audio", module="comfy_extras.nodes_audio")
def empty_latent_audio(ctx: Context, *, seconds: float = Float(47.6, min=1.0, max=1000.0, step=0.1), batch_size: int = _count()) -> Latent:
    """Nothing yet, for Stable Audio."""
    return empty(batch_size, 64, round(seconds * 44100 / 2048 / 2) * 2, type="audio")


@v3("EmptyAceStepLatentAudio", category="latent/audio", module="comfy_extras.nodes_ace")
def empty_ace_step(ctx: Context, *, seconds: float = Float(120.0, min=1.0, max=1000.0, step=0.1), batch_size: int = _count()) -> Latent:
    """Nothing yet, for ACE-Step."""
    return empty(batch_size, 8, 16, int(seconds * 44100 / 512 / 8), type="audio")


@node("EmptyLatentHunyuan3Dv2", category="latent/3d", module="comfy_extras.nodes_hunyuan3d")
def empty_hunyuan_3d(ctx: Context, *, resolution: int = Int(3072, min=1, max=8192), batch_size: int = _count()) -> Latent:
    """Nothing yet, for Hunyuan 3D 2."""
    return empty(batch_size, 64, resolution, type="hunyuan3dv2")


@v3("TrimVideoLatent", category="latent/video", module="comfy_extras.nodes_wan")
def trim_video_latent(ctx: Context, *, samples: Latent, trim_amount: int = Int(0, min=0, max=99999)) -> Latent:
    """Leave out the first frames of latents."""
    return {**samples, "samples": samples["samples"][:, :, trim_amount:]}


@node("LatentCutToBatch", title="Cut Latent to Batch", category="latent/advanced", module="comfy_extras.nodes_latent", form="v3")
def latent_cut_to_batch(
    ctx: Context, *, samples: Latent, dim: str = Combo(["t", "x", "y"]), slice_size: int = Int(1, min=1, max=MAX_SIDE)
) -> Latent:
    """Slices along a dimension as a batch; what does not fill a slice is left out."""
    whole = samples["samples"]
    if dim == "t" and whole.ndim < 5:
        raise BadInput("The latent has no frames.", hint="Cut along x or y.", node=ctx.node, input="dim")
    axis = {"t": 2, "x": whole.ndim - 1, "y": whole.ndim - 2}[dim]
    size = min(slice_size, whole.shape[axis])
    parts = whole.narrow(axis, 0, whole.shape[axis] // size * size).split(size, axis)
    return {**samples, "samples": torch.stack(list(parts), 1).flatten(0, 1)}
