"""Latents as files."""

from __future__ import annotations

import torch

from backend.base.errors import BadFile, Problem
from backend.base.paths import next_save
from backend.engine.context import Context
from backend.graph.declare import Choice, SavePrefix, node
from backend.graph.schema import Files
from backend.weights.file import WeightFile
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from nodes.image_files import METADATA, content_of, embedded, saved
from nodes.types import Latent

TENSOR, VERSION = "latent_tensor", "latent_format_version_0"
_UNMARKED_SCALE = 1 / 0.18215  # files without the version mark hold latents in the scale of the first diffusion models


@node("SaveLatent", category="_for_testing", output=True, hidden=METADATA)
def save_latent(ctx: Context, *, samples: Latent, filename_prefix: str = SavePrefix("latents/ComfyUI")) -> None:
    """Save a latent in the output directory, with the workflow inside."""
    place = next_save(filename_prefix, ctx.services.folders.directory("output"))
    path = place.folder / f"{place.name}_{place.counter:05}_.latent"
    save_safetensors(path, {TENSOR: samples["samples"].contiguous(), VERSION: torch.empty(0)}, embedded(ctx))
    ctx.show("latents", [saved(path, place.subfolder, "output")])


@node("LoadLatent", category="_for_testing", fingerprint=content_of("input", "latent"))
def load_latent(ctx: Context, *, latent: str = Choice(Files("input", content=("latent",)))) -> Latent:
    """Load a latent from the input directory."""
    try:
        file = open_weights(ctx.services.folders.resolve(latent, "input"))
        return {"samples": read_samples(file)}
    except Problem as problem:
        raise problem.at(node=ctx.node, input="latent", file=latent) from problem.__cause__


def read_samples(file: WeightFile) -> torch.Tensor:
    """The latent in a file, float32. Raises BadFile when it holds none."""
    if TENSOR not in file:
        raise BadFile(f"{file.path.name} holds no latent.", hint="Choose a file that SaveLatent wrote.", file=file.path)
    samples = file.tensor(TENSOR).float().clone()
    return samples if VERSION in file else samples * _UNMARKED_SCALE
