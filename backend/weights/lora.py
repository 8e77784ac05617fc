"""Put the adapters of a file (LoRA, LoCon, LoHa, LoKr, DoRA, OFT, full differences) on a model and its text encoder, as patches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

from torch import Tensor

from backend.base.errors import BadInput
from backend.weights.adapters.kinds import Adapter
from backend.weights.adapters.names import Aliases, is_text, place_of, resolve, text_aliases, unet_aliases
from backend.weights.adapters.placed import placed, together
from backend.weights.adapters.read import Adapters, Target, read_adapters
from backend.weights.file import Origin, WeightFile, identity
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

    def spellings(self) -> Mapping[str, Origin]: ...
    def grown(self, columns: Mapping[str, int]) -> Self:
        """With weights of so many columns, by name, where its family knows such nets; else as it is."""
        ...


class Kin(Protocol):
    """Kinds of models in words; see backend.families.kin."""

    def of_adapter(self, modules: Sequence[str], context: int | None) -> str:
        """What an adapter was made for, by the modules it names and the width of the text that its cross-attentions read."""
        ...

    def of_handle(self, handle: Any) -> str:
        """What a model is, or a text encoder."""
        ...


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
    """Names that nothing in the model or text encoder answers to, or that lie in another shape there, and tensors of unknown kinds."""

    def __str__(self) -> str:
        text = f"{self.model} weights of the model and {self.clip} of the text encoder are patched"
        if self.unmatched:
            text += f"; {len(self.unmatched)} entries match nothing, e.g. {self.unmatched[0]}"
        return text


def apply(
    model: Model | None,
    clip: Clip | None,
    file: WeightFile,
    strength_model: float = 1.0,
    strength_clip: float = 1.0,
    *,
    kin: Kin | None = None,
    weights: Callable[[str], float] = lambda parameter: 1.0,
) -> tuple[Model | None, Clip | None, Report]:
    """Both handles with the adapters of `file` as patches; a handle whose strength is 0 comes back as it was.

    `weights` gives a factor of the model's strength by the name of a parameter; what gets 0 is left as it is. Nothing is read but
    names, shapes and scales. Raises BadInput when the file was made for another kind of model (nothing matches, or shapes differ;
    `kin` finds the words), BadFile when its parts do not fit together.
    """
    adapters = read_adapters(file)
    sides = Sides.of(model, clip, adapters)
    if model is not None and sides.wider and strength_model != 0:
        model = model.grown(sides.wider)
        sides = Sides.of(model, clip, adapters)
    sides.check(file, model if model is not None else clip, kin)
    mark = identity(file)
    if model is not None and strength_model != 0:
        model = model.patched(*patches(sides.model, strength_model, mark, weights))
    if clip is not None and strength_clip != 0:
        clip = clip.patched(*patches(sides.clip, strength_clip, mark))
    report = Report(
        model=len(sides.model) if strength_model != 0 else 0,
        clip=len(sides.clip) if strength_clip != 0 else 0,
        left_out=tuple(target.module for target in sides.homeless if clip is None and is_text(target.module)),
        unmatched=(
            *(t.module for t in sides.homeless if clip is not None or not is_text(t.module)),
            *(misfit[0].module for misfit in sides.misfits),
            *adapters.unknown,
        ),
    )
    log.log(logging.WARNING if report.unmatched else logging.INFO, "%s: %s.", file.path.name, report)
    if report.unmatched:
        log.warning("%s: these match nothing: %s", file.path.name, ", ".join(report.unmatched))
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
    adapters: Adapters
    wider: Mapping[str, int] = field(default_factory=dict)
    """Weights of the model, and how many columns their adapters know: they were made for a net that is shown more."""

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
        wider: dict[str, int] = {}
        for target, adapter in adapters.by_target.items():
            for source, table, found in nets:
                name = resolve(target, table, source)
                if name is None:
                    continue
                place = place_of(target, table)
                assert place is not None  # it has a parameter
                shape, here = tuple(source[name].shape), placed(adapter, place)
                if here.fits(shape):
                    shared = name in found and not isinstance(place, str)
                    found[name] = (found[name][0], together(found[name][1], here)) if shared else (target, here)
                else:
                    misfits.append((target, adapter, shape))
                    rows, columns = adapter.size
                    if source is unet and len(shape) == 2 and rows == shape[0] and (columns or 0) > shape[1]:
                        wider[name] = columns or 0
                break
            else:
                homeless.append(target)
        return cls(nets[0][2], nets[1][2], tuple(homeless), tuple(misfits), adapters, wider)

    def check(self, file: WeightFile, handle: Any, kin: Kin | None) -> None:
        """Raises BadInput unless the file fits the model, or all but a few of its adapters do."""
        if not self.adapters.by_target:
            raise BadInput(f"{file.path.name} holds no LoRA or other adapter.", hint="Choose a file from the loras folder.", file=file.path)
        fitting = len(self.model) + len(self.clip)
        if fitting and len(self.misfits) <= fitting * MOST_MISFITS:
            return
        if self.misfits:
            target, adapter, shape = self.misfits[0]
            rows, columns = adapter.size
            detail = f" Its {target.module} changes weights of {rows} x {columns}, the model has {list(shape)} there."
        else:
            detail = f" Nothing in the model is named like its {next(iter(self.adapters.by_target)).module}."
        theirs, ours = "another kind of model", "not of that kind"
        if kin is not None:
            theirs = kin.of_adapter([target.module for target in self.adapters.by_target], context_width(self.adapters))
            ours = kin.of_handle(handle)
        raise BadInput(
            f"The LoRA {file.path.name} is for {theirs}, the model is {ours}.{detail}",
            hint="Use a LoRA made for this kind of model, or load the model it was made for.",
            file=file.path,
        )


MOST_MISFITS = 0.05
"""Misfits for each adapter that fits: the first convolution of an inpainting model is wider than the one a LoRA was trained on."""


def patches(
    found: Mapping[str, tuple[Target, Adapter]], strength: float, mark: str, weights: Callable[[str], float] = lambda parameter: 1.0
) -> list[Patch]:
    """A patch per weight, but for those that `weights` gives 0."""
    made = []
    for name, (target, adapter) in found.items():
        fingerprint, own = f"{mark}|{target.module}", strength * weights(name)
        if own != 0:
            made.append(Patch(name, own, fingerprint, adapter.delta(own, fingerprint)))
    return made


def context_width(adapters: Adapters) -> int | None:
    """The width of the text that the cross-attentions of an adapter read."""
    for target, adapter in adapters.by_target.items():
        if target.module.endswith(("attn2_to_k", "attn2.to_k")) and adapter.size[1] is not None:
            return adapter.size[1]
    return None
