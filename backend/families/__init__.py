"""Model families: each folder here is one, found by listing. A family is a spec (names, sizes, noise, latent) and a dull net."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from backend.diffusion.latent import LatentFormat
from backend.diffusion.noise import NoiseModel
from backend.diffusion.window import Along
from backend.families.joining import Joiner
from backend.weights.detect import Signature
from backend.weights.file import Header, Origin

Inputs = Callable[[list[dict[str, Any]], Any, Sequence[int]], dict[str, Tensor]]

Probe = Callable[[Mapping[str, Tensor]], Mapping[str, str]]


@dataclass(frozen=True)
class Family:
    """Everything the product knows of one kind of diffusion model; implements what sampling asks for (see diffusion.handle)."""

    name: str
    """What people call it; part of messages."""
    signature: Signature
    """Over the header under the net's own names."""
    latent: LatentFormat
    sizes: Callable[[Header], Any]
    """Sizes from shapes. Raises KeyError or ValueError where they contradict each other."""
    build: Callable[[Any], nn.Module]
    noise: Callable[[Mapping[str, str]], NoiseModel]
    """From what the file says in words ("prediction_type": "epsilon", "v_prediction" ...), where shapes cannot tell."""
    inputs: Inputs
    forward: Callable[[nn.Module, Tensor, Tensor, dict[str, Any]], Tensor]
    working_bytes: Callable[[Sequence[int], Any], int]
    from_diffusers: Callable[[Iterable[str]], Mapping[str, Origin]]
    """Net name -> diffusers name, or the pieces of such that make the weight, for the keys of a diffusers file."""
    to_diffusers: Callable[[Any, Iterable[str]], Mapping[str, Origin]]
    """The same for the keys of a net of given sizes, pieces with their rows; adapters (LoRA) are read by it."""
    probe: Probe = field(default=lambda weights: {})
    """What a look at a few weights, by net name, says where nothing else does; in the words that `noise` takes."""
    beside: tuple[str, ...] = ()
    """Keys beside the net in a checkpoint whose values `sizes` reads."""
    latent_of: Callable[[Any], LatentFormat] | None = None
    """The latent of a net of these sizes, where it is not the same for all."""
    taps: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Around the net of every model of this family (see diffusion.handle)."""
    marks: Callable[[Any], Mapping[str, Tensor]] = field(default=lambda sizes: {})
    """Small tensors beside a net of these sizes, by which a saved checkpoint is known again."""

    grow: Callable[[Any, Mapping[str, int]], Any] | None = None
    """(a model handle, columns by weight) -> the handle of a net that is shown more, with weights of so many columns; None where there is
    no such net. Adapters that were made for one ask for it."""
    repeats_text: bool = False
    """Whether saying a prompt's tokens twice changes nothing: so where they are only looked at (cross-attention), and not where they share
    one attention with the picture. Prompts of different lengths can then be run together."""
    keeps_clean: bool = False
    """Whether what a mask keeps is shown to the net clean, not noised as the rest is: so where nets are told the time of each frame."""
    along: Mapping[str, Along] = field(default_factory=dict)
    """Inputs that go along with the frames in a shape of their own, by name: cut where a net is shown some of the frames at a time."""
    wide: bool = False
    """Whether its numbers may exceed the range of fp16 though its files are in it: computed in bfloat16 where the device can."""
    text: Joiner | None = None
    """Which text encoders its models read, and how."""

    def with_latent(self, latent: LatentFormat) -> Family:
        """The same family for nets that were trained on latents of another format."""
        return replace(self, latent=latent)


def shelf() -> tuple[Family, ...]:
    """Every family there is: the `FAMILIES` of each package in this folder that has some, in order of name."""
    found: list[Family] = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        if module.ispkg:
            found.extend(getattr(importlib.import_module(f"{__name__}.{module.name}"), "FAMILIES", ()))
    return tuple(found)
