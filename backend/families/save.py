"""Write models as single files under their published names, so that they load again here and elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.codecs.kl.spec import VaeHandle
from backend.diffusion.handle import ModelHandle
from backend.diffusion.noise import DiscreteNoise
from backend.encoders.clip.openclip import to_openclip
from backend.encoders.clip_vision import spec as clip_vision
from backend.encoders.clip_vision.handle import VisionHandle
from backend.encoders.joint import published
from backend.encoders.phrases.handle import BRANCH as PHRASES
from backend.encoders.phrases.spec import AUTHORS
from backend.families.foreign import PREFIX
from backend.weights.merge import Weights
from backend.weights.save import Source, save_safetensors

VAE_PREFIX = "first_stage_model."
ENCODERS: Mapping[tuple[str, ...], tuple[tuple[str, bool], ...]] = {
    ("l",): (("cond_stage_model.transformer.", False),),
    ("h",): (("cond_stage_model.model.", True),),
    ("l", "g"): (("conditioner.embedders.0.transformer.", False), ("conditioner.embedders.1.model.", True)),
    ("g",): (("conditioner.embedders.0.model.", True),),
    (PHRASES,): ((AUTHORS, True),),
}
"""Where checkpoints keep text encoders, by their branches: prefix, and whether OpenCLIP's own names follow."""
ROOTED = (PHRASES,)
"""Those that keep their prefix alone, too: without it they would be taken for another."""


@dataclass(frozen=True)
class Tensors:
    """What is to be written: how each tensor is made, and its shape and dtype beforehand."""

    makers: dict[str, Source]
    facts: dict[str, tuple[tuple[int, ...], torch.dtype]]

    def add(self, key: str, make: Callable[[], Tensor], shape: Sequence[int], dtype: torch.dtype) -> None:
        self.makers[key] = make
        self.facts[key] = (tuple(shape), dtype)


def save(
    path: Path, metadata: Mapping[str, str], model: ModelHandle | None = None, clip: Any = None, vae: VaeHandle | None = None,
    vision: VisionHandle | None = None, *, bare: bool = False,
) -> None:  # fmt: skip
    """Write the parts that are given, patches applied, in the dtype their files have. One weight at a time is in memory.

    `bare` leaves out the prefixes of checkpoints, for a part on its own. Raises OSError when the disk is full; nothing is left then.
    """
    out = Tensors({}, {})
    texts = dict(metadata)
    if model is not None:
        _weights(out, Weights.of(model), "" if bare else PREFIX)
        texts |= _spoken(model)
        _marks(out, model)
    if clip is not None:
        _encoders(out, clip, bare)
    if vae is not None:
        _weights(out, Weights.of(vae), "" if bare else VAE_PREFIX)
    if vision is not None:
        _image_encoder(out, vision)
    save_safetensors(path, out.makers, texts, out.facts)


def _weights(out: Tensors, weights: Weights, prefix: str, names: Sequence[str] | None = None) -> None:
    for name in weights if names is None else names:
        whole = weights.original(name)
        assert whole is not None
        out.add(prefix + name, lambda name=name, dtype=whole.dtype: weights.value(name, dtype=dtype), whole.shape, whole.dtype)  # type: ignore[misc]


def _encoders(out: Tensors, clip: Any, bare: bool) -> None:
    parts = getattr(clip, "parts", (clip,))
    named = tuple((f"text_encoders.{published(part.branch)}.transformer.", False) for part in parts)
    places = ENCODERS.get(tuple(part.branch for part in parts), named)
    for part, (prefix, spelled_open) in zip(parts, places, strict=True):
        weights = Weights.of(part)
        cut = part.branch == "h" and part.layer is None  # a tower without the layer nobody reads: only diffusers' names say so
        alone = bare and part.branch not in ROOTED
        if alone or not spelled_open or cut:
            _weights(out, weights, "" if alone else "cond_stage_model.transformer." if cut else prefix)
            continue
        for key, pieces in to_openclip(weights).items():
            _joined(out, prefix + key, weights, pieces)


def _image_encoder(out: Tensors, vision: VisionHandle) -> None:
    """As unCLIP checkpoints have it; a tower with OpenAI's activation, which those names do not tell, under the names of transformers."""
    weights = Weights.of(vision)
    if vision.sizes.quick:
        return _weights(out, weights, "clip_vision.")
    for key, pieces in clip_vision.to_openclip(weights).items():
        _joined(out, "embedder.model.visual." + key, weights, pieces)


def _joined(out: Tensors, key: str, weights: Weights, pieces: Sequence[tuple[str, bool]]) -> None:
    """One tensor of several weights after each other, perhaps transposed."""
    first = weights.original(pieces[0][0])
    assert first is not None
    shape = first.shape[::-1] if pieces[0][1] else first.shape

    def make() -> Tensor:
        values = [weights.value(name, dtype=first.dtype) for name, _ in pieces]
        return torch.cat([v.T if turned else v for v, (_, turned) in zip(values, pieces, strict=True)])

    out.add(key, make, (shape[0] * len(pieces), *shape[1:]), first.dtype)


def _spoken(model: ModelHandle) -> dict[str, str]:
    """What shapes cannot tell, in the words of the model spec convention."""
    name = model.noise.prediction.name
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": model.family.name,
        "modelspec.prediction_type": "epsilon" if name == "eps" else name,
        "modelspec.predict_key": "epsilon" if name == "eps" else name,
    }


def _marks(out: Tensors, model: ModelHandle) -> None:
    """The small tensors by which programs know a model that predicts velocity, and with which noise."""
    out.makers.update(model.family.marks(model.sizes))
    noise = model.noise
    if noise.prediction.name != "v":
        return
    if not isinstance(noise, DiscreteNoise):
        out.makers["edm_vpred.sigma_min"] = torch.tensor(float(noise.sigma_min))
        out.makers["edm_vpred.sigma_max"] = torch.tensor(float(noise.sigma_max))
        return
    out.makers["v_pred"] = torch.zeros(0)
    if float(noise.sigma_max) > _ZERO_SNR:
        out.makers["ztsnr"] = torch.zeros(0)


_ZERO_SNR = 1000.0  # sigmas of a schedule with zero terminal SNR end in the thousands, others below twenty
