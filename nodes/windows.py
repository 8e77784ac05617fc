"""Latents larger than a net was made for, in windows."""

from __future__ import annotations

from functools import partial

from backend.diffusion.patches.windows import context_windows, panorama
from backend.engine.context import Context
from backend.graph.declare import Bool, Combo, Int, node
from nodes.types import Model

context = partial(node, category="context", module="comfy_extras.nodes_context_windows", form="v3", experimental=True)
SCHEDULES = ["standard_static", "standard_uniform", "looped_uniform", "batched"]
FUSING = ["pyramid", "relative", "flat", "overlap-linear"]


@context("ContextWindowsManual", title="Context Windows (Manual)")
def context_windows_manual(
    ctx: Context,
    *,
    model: Model,
    context_length: int = Int(16, min=1, tooltip="Frames predicted at a time."),
    context_overlap: int = Int(4, min=0, tooltip="Frames that neighbouring windows share."),
    context_schedule: str = Combo(SCHEDULES),
    context_stride: int = Int(1, min=1, tooltip="For uniform schedules: how many spacings there are."),
    closed_loop: bool = Bool(False, tooltip="For looped schedules: the last frame goes on at the first."),
    fuse_method: str = Combo(FUSING, default="pyramid"),
    dim: int = Int(0, min=0, max=5, tooltip="The dimension of the latents that counts frames."),
) -> Model:
    """Sample more frames than a model was made for, in windows that overlap."""
    return context_windows(model, context_length, context_overlap, context_schedule, context_stride, closed_loop, fuse_method, dim)


@context("WanContextWindowsManual", title="WAN Context Windows (Manual)")
def wan_context_windows_manual(
    ctx: Context,
    *,
    model: Model,
    context_length: int = Int(81, min=1, max=16384, step=4, tooltip="Frames predicted at a time."),
    context_overlap: int = Int(30, min=0, tooltip="Frames that neighbouring windows share."),
    context_schedule: str = Combo(SCHEDULES),
    context_stride: int = Int(1, min=1, tooltip="For uniform schedules: how many spacings there are."),
    closed_loop: bool = Bool(False, tooltip="For looped schedules: the last frame goes on at the first."),
    fuse_method: str = Combo(FUSING, default="pyramid"),
) -> Model:
    """Context windows for video latents of which each holds four frames."""
    length, overlap = max((context_length - 1) // 4 + 1, 1), max((context_overlap - 1) // 4 + 1, 0)
    return context_windows(model, length, overlap, context_schedule, context_stride, closed_loop, fuse_method, 2)


@node("PanoramaWindows", title="Panorama (MultiDiffusion)", category="context", module="nodes")
def panorama_windows(
    ctx: Context,
    *,
    model: Model,
    window: int = Int(512, min=64, max=8192, step=8, tooltip="Pixels: the size the model was made for."),
    stride: int = Int(64, min=8, max=8192, step=8, tooltip="Pixels from window to window; smaller blends better and takes longer."),
    circular: bool = Bool(False, tooltip="The right border goes on at the left one, as in a 360 degree panorama."),
) -> Model:
    """Sample pictures larger than a model was made for, in windows that are averaged at every step (Bar-Tal et al. 2023)."""
    factor = model.family.latent.factor
    return panorama(model, max(1, window // factor), max(1, stride // factor), circular)
