"""SeedVR2: restores and enlarges films and pictures in one step, told what to restore by a latent and nothing by a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.diffusion.latent import SEEDVR2
from backend.diffusion.noise import flow_noise
from backend.families import Family
from backend.families.prompt import tokens
from backend.families.seedvr2.net import PATCH, SeedVR2Net, SeedVR2Sizes
from backend.weights.detect import Signature, count
from backend.weights.file import Header

NAME = "SeedVR2"
NODE = "Connect the outputs of SeedVR2Conditioning to the sampler."
KNOWN = 1
"""Channels that say where the latent to restore is known: everywhere."""
LACKING = "lacking"
"""Beside a text that nobody has. Only who samples with it is told: at cfg 1, as the model was trained to, it is never read."""
_QKV = "blocks.0.attn.proj_qkv.vid.weight"
_RATES = "blocks.0.attn.rope.rope.freqs"


def sizes(header: Header) -> SeedVR2Sizes:
    """Sizes from shapes."""
    cell = PATCH * PATCH
    head, (inner, width) = header["blocks.0.attn.norm_q.vid.weight"].shape[0], header[_QKV].shape
    layers, rates = count(header, "blocks"), header.get(_RATES)
    return SeedVR2Sizes(
        channels=header["vid_out.proj.weight"].shape[0] // cell,
        shown=header["vid_in.proj.weight"].shape[1] // cell,
        width=width,
        heads=inner // 3 // head,
        head=head,
        layers=layers,
        apart=next((i for i in range(layers) if f"blocks.{i}.attn.proj_qkv.all.weight" in header), layers),
        hidden=header["blocks.0.mlp.vid.proj_in.weight"].shape[0],
        context=header["txt_in.weight"].shape[1],
        second="vid_out_norm.weight" in header,
        rates=rates.shape[0] if rates is not None else None,
    )


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The fixed text, and the latent to restore with a channel of ones.

    Raises BadInput for conditioning that SeedVR2Conditioning did not make, and for a latent of another size or make than the sampled one.
    """
    assert isinstance(sizes, SeedVR2Sizes)
    (cond, *_) = conds
    text, latent = tokens(conds, sizes.context, NAME, NODE), cond.get("concat_latent_image")
    if latent is None:
        raise BadInput("SeedVR2 restores a picture, and its conditioning holds none.", hint=NODE)
    latent = latent.unsqueeze(2) if latent.ndim == 4 else latent
    if latent.ndim != 5 or latent.shape[1] != sizes.shown - sizes.channels - KNOWN:
        raise BadInput(f"What SeedVR2 is to restore is encoded as {list(latent.shape)}.", hint="Encode it with SeedVR2's own VAE.")
    if tuple(latent.shape[2:]) != tuple(shape[2:]):
        raise BadInput(
            f"SeedVR2 is to restore a latent of {_size(latent.shape)} cells while one of {_size(shape)} is sampled.",
            hint="Connect the same latent to SeedVR2Conditioning and to the sampler.",
        )
    known = SEEDVR2.process_in(latent.float())
    made = {"text": text, "concat": torch.cat([known, torch.ones_like(known[:, :KNOWN])], dim=1)}
    return made | ({LACKING: torch.ones(1, 1)} if LACKING in cond else {})


def _size(shape: Sequence[int]) -> str:
    frames, height, width = shape[2:]
    return f"{width}x{height}" + (f" and {frames} frames" if frames > 1 else "")


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Run the net. Raises BadInput where the text is one that nobody has."""
    rest = dict(kwargs)
    if LACKING in rest:
        raise BadInput(
            "The text of what SeedVR2 is not to make is neither in the model's file nor among the files.",
            hint="Sample with cfg 1, as the model was trained to, or place neg_emb.pt into models/text_encoders.",
        )
    out: Tensor = net(torch.cat([x, rest.pop("concat").to(x.dtype)], dim=1), t, **rest)
    return out


def working_bytes(shape: Sequence[int], sizes: Any) -> int:
    """Peak bytes of one forward in float32: tokens' states, queries, keys and values twice, and the perceptron's inner layer twice."""
    assert isinstance(sizes, SeedVR2Sizes)
    frames = shape[2] if len(shape) == 5 else 1
    return shape[0] * frames * (shape[-2] * shape[-1] // PATCH**2) * (10 * sizes.width + 2 * sizes.hidden) * 4


FAMILY = Family(
    name=NAME,
    signature=Signature(has=(_QKV, "blocks.0.ada.vid.attn_shift", "vid_in.proj.weight", "txt_in.weight", "emb_in.proj_hid.weight")),
    latent=SEEDVR2,
    sizes=sizes,
    build=SeedVR2Net,
    noise=lambda facts: flow_noise(),
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=lambda keys: {key: key for key in keys},
    to_diffusers=lambda sizes, keys: {},
    wide=True,
)

FAMILIES = (FAMILY,)
