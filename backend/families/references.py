"""Pictures that an editing model looks at while it paints: latents in the conditioning, placed beside the one that is made.

Several families share the words of the conditioning: `reference_latents`, a list, and `reference_latents_method`, how they are placed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.latent import LatentFormat

_START = "reference."
Place = tuple[int, int, int]
"""Number among the pictures (the one that is made is 0), and where its first row and column stand, in cells of the latent."""


def told(cond: Mapping[str, Any], latent: LatentFormat, method: str) -> dict[str, Tensor]:
    """The pictures of one conditioning entry as a family's inputs, as the net sees latents; their names say how they are placed.

    `method` counts where the entry does not say. Raises BadInput for latents of another kind of model.
    """
    method = cond.get("reference_latents_method") or method
    made = {}
    for i, reference in enumerate(cond.get("reference_latents") or ()):
        if reference.ndim == latent.dims + 1 and latent.dims == 3:
            reference = reference.unsqueeze(2)
        if reference.ndim != latent.dims + 2 or reference.shape[1] != latent.channels:
            raise BadInput(
                f"A reference latent has the shape {list(reference.shape)}, but this model works on {latent.channels} channels.",
                hint="Encode the reference picture with the model's own VAE.",
            )
        made[f"{_START}{method}.{i}"] = latent.process_in(reference[:1].float())
    return made


def taken(kwargs: dict[str, Any]) -> tuple[str, list[Tensor]]:
    """Take the references out of what a net is called with: the method, and the latents in order."""
    names = sorted((name for name in kwargs if name.startswith(_START)), key=lambda name: int(name.rpartition(".")[2]))
    method = names[0][len(_START) :].rpartition(".")[0] if names else ""
    return method, [kwargs.pop(name) for name in names]


def places(method: str, references: list[Tensor]) -> list[Place]:
    """Where each reference stands.

    "index": one behind the other, "negative_index": in front; else ("offset") beside each other in one plane behind the picture, each
    new one along the side that keeps the whole smaller.
    """
    if method.startswith("index"):
        return [(i + 1, 0, 0) for i in range(len(references))]
    if method == "negative_index":
        return [(-i - 1, 0, 0) for i in range(len(references))]
    found: list[Place] = []
    tall = wide = 0
    for reference in references:
        height, width = reference.shape[-2:]
        down, right = (0, wide) if height + tall > width + wide else (tall, 0)
        tall, wide = max(tall, height + down), max(wide, width + right)
        found.append((1, down, right))
    return found
