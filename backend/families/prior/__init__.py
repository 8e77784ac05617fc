"""The prior of unCLIP (Karlo and its kin): denoises the embedding of a picture that a text means.

An embedding is sampled as a latent of one cell, so it has the solvers and guidance that pictures have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.guiders.guidance import Guidance
from backend.diffusion.latent import ChannelwiseLatent
from backend.diffusion.noise import DiscreteNoise, NoiseModel, betas, x0
from backend.families import Family
from backend.families.prior.net import EXTRA, Prior, PriorSizes
from backend.families.sd.conditions import Cond
from backend.weights.detect import Signature, count
from backend.weights.file import Header, WeightFile

NAME = "unCLIP prior"
BOUND = 5.0
"""Normalised embeddings lie within this; guided ones are kept there (Karlo, 2022)."""
MEAN, DEVIATION = "clip_mean", "clip_std"


def sizes_of(header: Header) -> PriorSizes:
    """Sizes from shapes, and the statistics beside them. Heads are 64 wide in all published weights."""
    width = header["proj_in.weight"].shape[0]
    mean, deviation = (
        tuple(header.tensor(key).float().flatten().tolist()) if isinstance(header, WeightFile) else () for key in (MEAN, DEVIATION)
    )
    return PriorSizes(
        embed=header["proj_in.weight"].shape[1],
        width=width,
        text=header["encoder_hidden_states_proj.weight"].shape[1],
        pooled=header["embedding_proj.weight"].shape[1],
        tokens=header["positional_embedding"].shape[1] - EXTRA,
        layers=count(header, "transformer_blocks"),
        mean=mean,
        deviation=deviation,
    )


def latent_of(sizes: PriorSizes) -> ChannelwiseLatent:
    return ChannelwiseLatent(channels=sizes.embed, factor=1, means=sizes.mean, deviations=sizes.deviation)


def noise(facts: Mapping[str, str]) -> NoiseModel:
    """The cosine schedule (Nichol & Dhariwal 2021) of a net that predicts what is clean."""
    return DiscreteNoise.from_betas(betas("squaredcos_cap_v2"), x0())


def bounded(guidance: Guidance) -> Tensor:
    """The guided embedding within its bounds."""
    assert guidance.denoised is not None
    return guidance.denoised.clamp(-BOUND, BOUND)


def inputs(conds: list[Cond], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """Text, its projection, and which tokens are real. Raises BadInput for the text of another encoder or of another node."""
    assert isinstance(sizes, PriorSizes)
    context = torch.cat([cond["cross_attn"] for cond in conds])
    pooled, real = [cond.get("pooled_output") for cond in conds], [cond.get("prior_tokens") for cond in conds]
    fits = context.shape[1:] == (sizes.tokens, sizes.text) and all(p is not None and p.shape[-1] == sizes.pooled for p in pooled)
    if not fits or any(mask is None for mask in real):
        raise BadInput(
            f"The text encoding has the shape {list(context.shape)}; this {NAME} reads {sizes.tokens} tokens of width {sizes.text}"
            f" and a projection {sizes.pooled} wide.",
            hint="Use the node Prior Conditioning, with the text encoder of the prior.",
        )
    return {"context": context, "y": torch.cat([p for p in pooled if p is not None]), "real": torch.cat([m for m in real if m is not None])}


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Run the net on a latent of one cell. Raises BadInput for what it has no place for."""
    if kwargs.get("control") or kwargs.get("taps"):
        raise BadInput(f"The {NAME} has no place for ControlNets and patches of attention.", hint="Connect it as it was loaded.")
    out: Tensor = net(x.flatten(1), t, kwargs["context"], kwargs["y"], kwargs["real"])
    return out.reshape(x.shape)


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: the feed-forward's inner layer, twice, and a few rows of tokens."""
    assert isinstance(sizes, PriorSizes)
    return shape[0] * (sizes.tokens + EXTRA) * sizes.width * 14 * 4


FAMILY = Family(
    name=NAME,
    signature=Signature(
        has=("prd_embedding", "positional_embedding", "proj_to_clip_embeddings.weight", "encoder_hidden_states_proj.weight")
    ),
    latent=ChannelwiseLatent(channels=768, factor=1),
    latent_of=latent_of,
    taps={"post_cfg": (bounded,)},
    sizes=sizes_of,
    build=Prior,
    noise=noise,
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=lambda keys: {key: key for key in keys},
    to_diffusers=lambda sizes, keys: {key: key for key in keys},
    marks=lambda sizes: {
        f"model.diffusion_model.{key}": torch.tensor([v]) for key, v in ((MEAN, sizes.mean), (DEVIATION, sizes.deviation))
    },
)
FAMILIES = (FAMILY,)
