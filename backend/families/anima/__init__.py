"""Anima: Cosmos Predict 2's transformer taught to draw, told by Qwen 3 (0.6B) through an adapter, on Qwen Image's latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.diffusion.noise import NoiseModel, flow_noise
from backend.families.anima.net import LENGTH, AdapterSizes, AnimaNet, AnimaSizes
from backend.families.anima.texts import IDS, TEXT, WEIGHTS
from backend.families.cosmos import IMAGE, cosmos_sizes, working_bytes
from backend.families.prompt import tokens
from backend.weights.detect import count
from backend.weights.file import Header

NAME = "Anima"
SHIFT = 3.0
LOT = 128
"""Prompts are filled up to lots of so many tokens, which the adapter leaves out, so that they can be run together."""
HINT = "Encode the prompt with Qwen 3 0.6B (Load CLIP, type stable_diffusion)."
MARK = "llm_adapter.blocks.0.cross_attn.k_proj.weight"


def sizes(header: Header) -> AnimaSizes:
    """Sizes from shapes; a head of the adapter is as wide as what its queries are normalised with."""
    inside, first = "llm_adapter.", "llm_adapter.blocks.0."
    width, source = header[MARK].shape
    words, target = header[f"{inside}embed.weight"].shape
    adapter = AdapterSizes(
        source=source,
        width=width,
        target=target,
        heads=width // header[f"{first}cross_attn.q_norm.weight"].shape[0],
        layers=count(header, f"{inside}blocks"),
        hidden=header[f"{first}mlp.0.weight"].shape[0],
        words=words,
    )
    return AnimaSizes(**asdict(cosmos_sizes(header)), adapter=adapter)


def noise(facts: Mapping[str, str]) -> NoiseModel:
    return flow_noise(float(facts.get("shift", SHIFT)), 1.0)


def inputs(conds: list[dict[str, Any]], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """The language model's states, and T5's words with their weights, both filled up to whole lots. Raises BadInput for a text of another
    model."""
    assert isinstance(sizes, AnimaSizes)
    states = tokens(conds, sizes.adapter.source, NAME, HINT)
    words, weights = conds[0].get(IDS), conds[0].get(WEIGHTS)
    if words is None or not len(words):
        raise BadInput("The prompt comes without the words that Anima's adapter begins with.", hint=HINT)
    words = words.reshape(1, -1).long()
    if int(words.max()) >= sizes.adapter.words:
        raise BadInput(f"Token {int(words.max())} is not among the {sizes.adapter.words} words that this Anima model knows.", hint=HINT)
    weights = torch.ones(words.shape) if weights is None else weights.reshape(1, -1).float()
    if weights.shape != words.shape:
        raise BadInput(f"The prompt has {words.shape[1]} words of T5 and weights for {weights.shape[1]}.", hint=HINT)
    missing, lacking = -states.shape[1] % LOT, -words.shape[1] % LOT if words.shape[1] < LENGTH else 0
    return {
        "states": F.pad(states, (0, 0, 0, missing)),
        "real": F.pad(torch.ones(states.shape[:2], dtype=torch.bool), (0, missing)),
        "words": F.pad(words, (0, lacking), value=-1),
        "weights": F.pad(weights, (0, lacking)),
    }


def forward(net: nn.Module, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
    out: Tensor = net(x, t, **kwargs)
    return out


FAMILY = replace(
    IMAGE,
    name=NAME,
    signature=replace(IMAGE.signature, has=(*IMAGE.signature.has, MARK), lacks=tuple(key for key in IMAGE.signature.lacks if key != MARK)),
    sizes=sizes,
    build=AnimaNet,
    noise=noise,
    inputs=inputs,
    forward=forward,
    working_bytes=working_bytes,
    text=TEXT,
)

FAMILIES = (FAMILY,)
