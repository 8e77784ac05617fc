"""Latents: arithmetic, joining and cutting, operations applied during sampling."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from backend.diffusion.guiders import Guidance
from backend.engine.context import Context
from backend.graph.declare import Combo, Float, Int, node
from backend.imaging import filters, latents
from backend.imaging.batch import repeat_to_batch
from nodes.types import MAX_SIDE, Latent, LatentOperation, Model

latent_node = partial(node, module="comfy_extras.nodes_latent", form="v3")
AXES = {"x": -1, "y": -2, "t": -3}


@latent_node("LatentAdd", category="latent/advanced")
def latent_add(ctx: Context, *, samples1: Latent, samples2: Latent) -> Latent:
    """Sum; the second latent takes the size of the first."""
    first = samples1["samples"]
    return {**samples1, "samples": first + latents.aligned(first, samples2["samples"])}


@latent_node("LatentSubtract", category="latent/advanced")
def latent_subtract(ctx: Context, *, samples1: Latent, samples2: Latent) -> Latent:
    """Difference; the second latent takes the size of the first."""
    first = samples1["samples"]
    return {**samples1, "samples": first - latents.aligned(first, samples2["samples"])}


@latent_node("LatentMultiply", category="latent/advanced")
def latent_multiply(ctx: Context, *, samples: Latent, multiplier: float = Float(1.0, min=-10.0, max=10.0, step=0.01)) -> Latent:
    """Scale all values."""
    return {**samples, "samples": samples["samples"] * multiplier}


@latent_node("LatentInterpolate", category="latent/advanced")
def latent_interpolate(
    ctx: Context, *, samples1: Latent, samples2: Latent, ratio: float = Float(1.0, min=0.0, max=1.0, step=0.01)
) -> Latent:
    """Blend directions and magnitudes separately; a ratio of 1 is the first latent."""
    first = samples1["samples"]
    return {**samples1, "samples": latents.interpolate_directions(first, latents.aligned(first, samples2["samples"]), ratio)}


@latent_node("LatentConcat", category="latent/advanced")
def latent_concat(ctx: Context, *, samples1: Latent, samples2: Latent, dim: str = Combo(["x", "-x", "y", "-y", "t", "-t"])) -> Latent:
    """Put two latents side by side; a minus puts the second one first."""
    first = samples1["samples"]
    parts = [first, repeat_to_batch(samples2["samples"], first.shape[0])]
    if dim.startswith("-"):
        parts.reverse()
    return {**samples1, "samples": torch.cat(parts, dim=AXES[dim[-1]])}


@latent_node("LatentCut", category="latent/advanced")
def latent_cut(
    ctx: Context,
    *,
    samples: Latent,
    dim: str = Combo(["x", "y", "t"]),
    index: int = Int(0, min=-MAX_SIDE, max=MAX_SIDE, step=1),
    amount: int = Int(1, min=1, max=MAX_SIDE, step=1),
) -> Latent:
    """A piece along one axis, in latent cells."""
    return {**samples, "samples": latents.cut(samples["samples"], AXES[dim], index, amount)}


@latent_node("LatentBatch", category="latent/batch")
def latent_batch(ctx: Context, *, samples1: Latent, samples2: Latent) -> Latent:
    """Put two batches into one; the second takes the size of the first."""
    first = samples1["samples"]
    samples = torch.cat([first, latents.aligned(first, samples2["samples"], repeat=False)])
    return {**samples1, "samples": samples, "batch_index": latents.batch_indices(samples1) + latents.batch_indices(samples2)}


@latent_node("LatentBatchSeedBehavior", category="latent/advanced")
def latent_batch_seed_behavior(
    ctx: Context, *, samples: Latent, seed_behavior: str = Combo(["random", "fixed"], default="fixed")
) -> Latent:
    """Give every latent of the batch noise of its own, or all of them the same."""
    out = {**samples}
    if seed_behavior == "random":
        out.pop("batch_index", None)
    else:
        out["batch_index"] = latents.batch_indices(samples)[:1] * samples["samples"].shape[0]
    return out


@latent_node("LatentApplyOperation", category="latent/advanced/operations", experimental=True)
def latent_apply_operation(ctx: Context, *, samples: Latent, operation: LatentOperation) -> Latent:
    """Apply an operation to a latent now."""
    return {**samples, "samples": operation(latent=samples["samples"])}


@latent_node("LatentApplyOperationCFG", category="latent/advanced/operations", experimental=True)
def latent_apply_operation_cfg(ctx: Context, *, model: Model, operation: LatentOperation) -> Model:
    """Apply an operation to the guidance (positive minus negative) in every sampling step."""

    def before_guidance(guidance: Guidance, predictions: list[Tensor]) -> list[Tensor]:
        if len(predictions) != 2:
            return [operation(latent=predictions[0]), *predictions[1:]]
        cond, uncond = predictions
        return [operation(latent=cond - uncond) + uncond, uncond]

    return model.with_tap("pre_cfg", before_guidance)


@latent_node("LatentOperationTonemapReinhard", category="latent/advanced/operations", experimental=True)
def latent_operation_tonemap_reinhard(ctx: Context, *, multiplier: float = Float(1.0, min=0.0, max=100.0, step=0.01)) -> LatentOperation:
    """Compress large magnitudes, which tames high guidance."""
    return lambda latent, **_: filters.tonemap_reinhard(latent, multiplier)


@latent_node("LatentOperationSharpen", category="latent/advanced/operations", experimental=True)
def latent_operation_sharpen(
    ctx: Context,
    *,
    sharpen_radius: int = Int(9, min=1, max=31, step=1),
    sigma: float = Float(1.0, min=0.1, max=10.0, step=0.1),
    alpha: float = Float(0.1, min=0.0, max=5.0, step=0.01),
) -> LatentOperation:
    """Sharpen the directions of a latent."""
    return lambda latent, **_: filters.sharpen_directions(latent, sharpen_radius, sigma, alpha)
