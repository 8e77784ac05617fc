"""Put the adapters of a file (LoRA, LoCon, LoHa, LoKr, DoRA, OFT, full differences) on a model and its text encoder, as patches."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from torch import Tensor

from backend.base.errors import BadInput
from backend.weights.adapters.kinds import Adapter
from backend.weights.adapters.names import Aliases, is_text, resolve, text_aliases, unet_aliases
from backend.weights.adapters.read import Adapters, Target, read_adapters
from backend.weights.file import WeightFile, identity
from backend.weights.patch import Patch

log = logging.getLogger(__name__)


class Sourced(Protocol):
    """The part of a Loadable that is looked at here."""

    @property
    def source(self) -> Mapping[str, Tensor]: ...


class Patchable(Protocol):
    """A handle that collects patches: a model or a text encoder."""

    @property
    def loadable(self) -> Sourced: ...

    def patched(self, *patches: Patch) -> Self: ...


class Spelled(Patchable, Protocol):
    """A model, which knows the other published names of its weights."""

    def spellings(self) -> Mapping[str, str]: ...


Model = TypeVar("Model", bound=Spelled)
Clip = TypeVar("Clip", bound=Patchable)


@dataclass(frozen=True)
class Report:
    """What became of the adapters in a file."""

    model: int = 0
    clip: int = 0
    left_out: tuple[str, ...] = ()
    """For the text encoder where none was given."""
    unmatched: tuple[str, ...] = ()
    """Names that nothing in the model or text encoder answers to, and tensors of unknown kinds."""

    def __str__(self) -> str:
        text = f"{self.model} weights of the model and {self.clip} of the text encoder are patched"
        if self.unmatched:
            text += f"; {len(self.unmatched)} entries match nothing, e.g. {self.unmatched[0]}"
        return text


def apply(
    model: Model | None, clip: Clip | None, file: WeightFile, strength_model: float = 1.0, strength_clip: float = 1.0
) -> tuple[Model | None, Clip | None, Report]:
    """Both handles with the adapters of `file` as patches; a handle whose strength is 0 comes back as it was.

    Nothing is read but names, shapes and scales. Raises BadInput when the file was made for another kind of model (nothing matches, or
    a shape differs), BadFile when its parts do not fit together.
    """
    adapters = read_adapters(file)
    sides = Sides.of(model, clip, adapters)
    sides.check(file)
    mark = identity(file)
    if model is not None and strength_model != 0:
        model = model.patched(*patches(sides.model, strength_model, mark))
    if clip is not None and strength_clip != 0:
        clip = clip.patched(*patches(sides.clip, strength_clip, mark))
    report = Report(
        model=len(sides.model) if strength_model != 0 else 0,
        clip=len(sides.clip) if strength_clip != 0 else 0,
        left_out=tuple(target.module for target in sides.homeless if clip is None and is_text(target.module)),
        unmatched=(*(t.module for t in sides.homeless if clip is not None or not is_text(t.module)), *adapters.unknown),
    )
    log.log(logging.WARNING if report.unmatched else logging.INFO, "%s: %s.", file.path.name, report)
    return model, clip, report


@dataclass(frozen=True)
class Sides:
    """The adapters of a file by what they change."""

    model: Mapping[str, tuple[Target, Adapter]]
    """Net parameter name -> adapter."""
    clip: Mapping[str, tuple[Target, Adapter]]
    homeless: tuple[Target, ...]
    misfits: tuple[tuple[Target, Adapter, tuple[int, ...]], ...]
    """Adapters whose name is known but whose shape is not that of the weight."""
    width: int | None
    """Of the model's cross-attention."""
    adapters: Adapters

    @classmethod
    def of(cls, model: Spelled | None, clip: Patchable | None, adapters: Adapters) -> Sides:
        """Find the weight of every adapter. Only the shapes of weights that are meant are looked at."""
        unet: Mapping[str, Tensor] = model.loadable.source if model is not None else {}
        text: Mapping[str, Tensor] = clip.loadable.source if clip is not None else {}
        nets: list[tuple[Mapping[str, Tensor], Aliases, dict[str, tuple[Target, Adapter]]]] = [
            (unet, unet_aliases(unet, model.spellings() if model is not None else {}), {}),
            (text, text_aliases(text), {}),
        ]
        homeless: list[Target] = []
        misfits: list[tuple[Target, Adapter, tuple[int, ...]]] = []
        for target, adapter in adapters.by_target.items():
            for source, table, found in nets:
                name = resolve(target, table, source)
                if name is None:
                    continue
                shape = tuple(source[name].shape)
                if adapter.fits(shape):
                    found[name] = (target, adapter)
                else:
                    misfits.append((target, adapter, shape))
                break
            else:
                homeless.append(target)
        return cls(nets[0][2], nets[1][2], tuple(homeless), tuple(misfits), context_width(nets[0][0]), adapters)

    def check(self, file: WeightFile) -> None:
        """Raises BadInput unless the file fits the model."""
        if not self.adapters.by_target:
            raise BadInput(f"{file.path.name} holds no LoRA or other adapter.", hint="Choose a file from the loras folder.", file=file.path)
        if self.misfits:
            target, adapter, shape = self.misfits[0]
            rows, columns = adapter.size
            detail = f" Its {target.module} changes weights of {rows} x {columns}, the model has {list(shape)} there."
        elif not self.model and not self.clip:
            detail = f" Nothing in the model is named like its {next(iter(self.adapters.by_target)).module}."
        else:
            return
        theirs, ours = made_for(self.adapters), family(self.width)
        raise BadInput(
            f"The LoRA {file.path.name} is for {theirs}, the model is {ours}.{detail}",
            hint="Use a LoRA made for this kind of model, or load the model it was made for.",
            file=file.path,
        )


def patches(found: Mapping[str, tuple[Target, Adapter]], strength: float, mark: str) -> list[Patch]:
    """A patch per weight."""
    made = []
    for name, (target, adapter) in found.items():
        fingerprint = f"{mark}|{target.module}"
        made.append(Patch(name, strength, fingerprint, adapter.delta(strength, fingerprint)))
    return made


WIDTHS = {768: "SD 1.x", 1024: "SD 2.x", 1280: "the SDXL refiner", 2048: "SDXL"}
"""Families of UNets by the width of their cross-attention."""
SIGNS = (
    (("single_blocks", "single_transformer_blocks"), "Flux"),
    (("joint_blocks", "add_k_proj"), "SD 3"),
    (("lora_prior_",), "Stable Cascade"),
    (("cross_attn", "_ffn_"), "Wan"),
    (("lora_te2_",), "SDXL"),
    (("input_blocks", "down_blocks", "output_blocks", "up_blocks"), "a UNet model"),
)
"""Names that occur in adapters of one family only."""


def family(width: int | None) -> str:
    """A kind of model in words, by the width of its cross-attention."""
    if width is None:
        return "of another kind"
    return f"{WIDTHS[width]} (cross-attention {width} wide)" if width in WIDTHS else f"one with cross-attention {width} wide"


def context_width(source: Mapping[str, Any]) -> int | None:
    """The width of the text that a UNet's cross-attention reads."""
    name = next((name for name in source if name.endswith("attn2.to_k.weight")), None)
    return None if name is None else int(source[name].shape[1])


def made_for(adapters: Adapters) -> str:
    """The kind of model a file of adapters was made for, as far as its names and shapes tell."""
    for target, adapter in adapters.by_target.items():
        if target.module.endswith(("attn2_to_k", "attn2.to_k")) and adapter.size[1] is not None:
            return family(adapter.size[1])
    for signs, name in SIGNS:
        if any(sign in target.module for target in adapters.by_target for sign in signs):
            return name
    return "another kind of model"
