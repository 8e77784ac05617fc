"""What Flux's nets are told besides the noisy latent, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.latent import LatentFormat
from backend.families import Inputs
from backend.families.flux.net import FluxNet, FluxSizes
from backend.families.flux.places import Layout
from backend.families.prompt import tokens

Cond = dict[str, Any]
Shown = Callable[[Cond, Sequence[int], FluxSizes], Tensor]
"""(one conditioning entry, the latent's shape, sizes) -> what is joined to the latent along channels [n, sizes.shown, H, W]."""

GUIDANCE = 3.5
"""The scale that a net is told where nobody says."""
REFERENCE = "reference"


def told(
    name: str, latent: LatentFormat, shown: Shown | None = None, layout: Layout = FluxNet.layout,
    encoder: str = "the text encoders CLIP-L and T5 (type flux)",
) -> Inputs:  # fmt: skip
    """A family's `inputs`: prompt, pooled text, guidance scale, reference pictures, and what its nets are shown.

    They raise BadInput for a text of another model, and for pictures of another autoencoder.
    """

    def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
        assert isinstance(sizes, FluxSizes)
        context = tokens(conds, sizes.context, name, f"Encode the prompt with {encoder}.")
        made: dict[str, Any] = {"context": context}
        if sizes.pooled:
            made["y"] = torch.cat([_pooled(cond, name, sizes) for cond in conds])
        if sizes.guidance:
            scales = [cond.get("guidance", GUIDANCE) for cond in conds]
            if None not in scales:
                made["guidance"] = torch.tensor([float(scale) for scale in scales])
        mask: Tensor | None = conds[0].get("attention_mask")
        if mask is not None and mask.ndim == 3:
            cells = (-(-shape[-2] // sizes.patch), -(-shape[-1] // sizes.patch))
            made["mask"] = over_tokens(mask, context.shape[1], conds[0].get("attention_mask_img_shape", (1, 1)), cells)
        if shown is not None:
            made["shown"] = torch.cat([shown(cond, shape, sizes) for cond in conds])
        return made | references(conds[0], name, latent, layout, sizes, shape)

    return inputs


def over_tokens(mask: Tensor, words: int, known: Sequence[int], cells: tuple[int, int]) -> Tensor:
    """A mask of attention [n, words + known cells, the same] for a picture of so many cells (rows, columns), to the nearest one."""
    rows, columns = ((torch.arange(new) * old // new) for new, old in zip(cells, known, strict=True))
    at = torch.cat([torch.arange(words), words + (rows[:, None] * known[1] + columns).flatten()])
    grown = mask[:, at[:, None], at[None]]
    return grown.float().log() if grown.dtype == torch.bool else grown


def references(cond: Cond, name: str, latent: LatentFormat, layout: Layout, sizes: FluxSizes, shape: Sequence[int]) -> dict[str, Tensor]:
    """Reference pictures [1, 1, C, h, w], each under a name that says where it stands: pictures that differ in that are run apart."""
    pictures = cond.get("reference_latents") or ()
    for picture in pictures:
        if picture.ndim != 4 or picture.shape[1] != sizes.channels:
            raise BadInput(
                f"A reference picture has the latent shape {list(picture.shape)}; this {name} model works on {sizes.channels} channels.",
                hint="Encode it with the model's own VAE.",
            )
    own, *grids = [(-(-p[-2] // sizes.patch), -(-p[-1] // sizes.patch)) for p in (shape, *(picture.shape for picture in pictures))]
    places = layout.references(own, grids, cond.get("reference_latents_method"))
    return {
        " ".join((REFERENCE, f"{i:03}", *map(str, place))): latent.process_in(picture.float()).unsqueeze(1)
        for i, (place, picture) in enumerate(zip(places, pictures, strict=True))
    }


def _pooled(cond: Cond, name: str, sizes: FluxSizes) -> Tensor:
    pooled: Tensor | None = cond.get("pooled_output")
    if pooled is None:
        return torch.zeros(len(cond["cross_attn"]), sizes.pooled)
    if pooled.shape[-1] != sizes.pooled:
        raise BadInput(
            f"The pooled text is {pooled.shape[-1]} wide, but this {name} model takes {sizes.pooled}.",
            hint="Encode the prompt with the text encoders CLIP-L and T5 (type flux).",
        )
    return pooled


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Run the net; references, which came one by one, go in as a list with their places."""
    rest = {key: value for key, value in kwargs.items() if not key.startswith(REFERENCE)}
    pictures = [(_place(key), kwargs[key][:, 0]) for key in sorted(kwargs.keys() - rest.keys())]
    out: Tensor = net(x, t, references=pictures, **rest)
    return out


def _place(key: str) -> tuple[int, int, int]:
    number, row, column = (int(word) for word in key.split()[2:])
    return number, row, column


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: a token's stream, its queries, keys and values twice over, and a perceptron's input."""
    assert isinstance(sizes, FluxSizes)
    tokens = shape[0] * (shape[-2] * shape[-1] // sizes.patch**2 + 512)
    return tokens * (10 * sizes.width + 2 * sizes.hidden) * 4
