"""ControlNet files for Stable Diffusion: whole nets in both spellings, differences to a model, low-rank ones (Control-LoRA), union nets."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from backend.base.errors import BadFile, BadInput
from backend.control.control import Control, Runner
from backend.control.hints import check, fitted
from backend.control.kind import Setting
from backend.control.residuals import Residuals
from backend.control.unet import names
from backend.control.unet.net import ControlNet, ControlSizes
from backend.diffusion.denoiser import as_net_sees
from backend.diffusion.handle import ModelHandle
from backend.diffusion.members import for_members
from backend.families import kin
from backend.families.sd.sizes import SD1_HEADS, sizes_down
from backend.families.sd.unet import UNetSizes
from backend.memory.pool import Loadable
from backend.weights.adapters.kinds import LowRank
from backend.weights.complete import require
from backend.weights.file import Header, Renamed, Views, WeightFile, identity
from backend.weights.slot import Delta

HEAD_WIDTH = 64
"""Of every net with linear projections (SD 2, SDXL)."""
HINT, ZERO = "input_hint_block.0.weight", "zero_convs.0.0.weight"


def net_names(file: WeightFile) -> WeightFile | None:
    """The file under the net's own names, or None where it holds no ControlNet of this kind."""
    if names.MARK in file and names.OTHER not in file:
        return Renamed(file, names.from_diffusers(file))
    for prefix in names.PREFIXES:
        if prefix + HINT in file and prefix + ZERO in file:
            return Renamed(file, {key[len(prefix) :]: key for key in file if key.startswith(prefix)}) if prefix else file
    return None


def control_sizes(header: Header) -> ControlSizes:
    """Sizes from shapes. Raises KeyError for a missing weight, ValueError for a contradiction."""
    unet = sizes_down(header)
    rule = {"heads": None, "head_dim": HEAD_WIDTH} if unet.linear else {"heads": SD1_HEADS}
    return with_hint(replace(unet, **rule), header)


def with_hint(unet: UNetSizes, header: Header) -> ControlSizes:
    """A UNet's sizes and those that the control net adds."""
    numbers = sorted(int(key.split(".")[1]) for key in header if key.startswith("input_hint_block.") and key.endswith(".weight"))
    union = header["task_embedding"].shape[0] if "task_embedding" in header else None
    return ControlSizes(
        unet=unet,
        hint_channels=header[HINT].shape[1],
        hint_widths=tuple(header[f"input_hint_block.{n}.weight"].shape[0] for n in numbers[:-1]),
        union=union,
        union_embed=header["control_add_embedding.linear_1.weight"].shape[1] // union if union else 256,
    )


@dataclass(frozen=True)
class UNetControl:
    """A ControlNet with weights of its own."""

    file: WeightFile
    """Under the net's names."""
    sizes: ControlSizes
    setting: Setting
    pooled: bool = False
    """Residuals are averaged over the picture (nets trained on shuffled pictures, which are known by their names only)."""

    @property
    def title(self) -> str:
        return (
            f"the ControlNet {self.file.path.name}, which is for {kin.of_unet(self.sizes.unet.context, self.sizes.unet.adm is not None)},"
        )

    def loadable(self, model: ModelHandle) -> Loadable:
        ours, theirs = self.sizes.unet, unet_of(model)
        if theirs is None or (ours.context, ours.adm is None) != (theirs.context, theirs.adm is None):
            made_for = kin.of_unet(ours.context, ours.adm is not None)
            raise BadInput(
                f"The ControlNet {self.file.path.name} is for {made_for}, the model is {model.family.name}.",
                hint="Use a ControlNet made for this kind of model, or load the model it was made for.",
                file=self.file.path,
            )
        return self._with(Views(self.file))

    def _with(self, source: Mapping[str, Tensor]) -> Loadable:
        build = functools.partial(ControlNet, self.sizes)
        return Loadable(f"{identity(self.file)}#control", build, source, dtype=self.setting.dtype)

    def runner(self, net: nn.Module, model: ModelHandle, control: Control) -> Runner:
        assert isinstance(net, ControlNet)
        return UNetRunner(self, net, model, control)


@dataclass(frozen=True)
class DifferenceControl(UNetControl):
    """A ControlNet stored as a difference to the way down of a model."""

    base: ModelHandle | None = None

    def loadable(self, model: ModelHandle) -> Loadable:
        whole = super().loadable(model)
        assert self.base is not None
        base, mark = self.base.loadable.source, self.base.loadable.key
        deltas: dict[str, tuple[Delta, ...]] = {name: (Plus(name, mark, base),) for name in self.file if name in base}
        return replace(whole, key=f"{whole.key}+{mark}", deltas=deltas, fingerprint=mark)


@dataclass(frozen=True)
class Plus:
    """Adds a weight of another model."""

    name: str
    mark: str
    """Identity of that model."""
    source: Mapping[str, Tensor] = field(compare=False, repr=False)

    def __call__(self, w: Tensor) -> Tensor:
        return w.add_(self.source[self.name].to(w))


@dataclass(frozen=True)
class LowRankControl:
    """Control-LoRA: the model's own way down, changed by low-rank factors, with a hint net of its own."""

    file: WeightFile
    setting: Setting

    @property
    def title(self) -> str:
        return f"the Control-LoRA {self.file.path.name}"

    def loadable(self, model: ModelHandle) -> Loadable:
        unet = unet_of(model)
        pairs = [key[: -len(".up")] for key in self.file if key.endswith(".up")]
        shapes = model.loadable.source
        wrong = next(
            (p for p in pairs if f"{p}.weight" not in shapes or not self._factors(p).fits(tuple(shapes[f"{p}.weight"].shape))), None
        )
        if unet is None or wrong is not None:
            context = self.file.get("input_blocks.4.1.transformer_blocks.0.attn2.to_k.down")
            made_for = kin.of_unet(context.shape[1], "label_emb.0.0.up" in self.file) if context else "another kind of model"
            raise BadInput(
                f"The Control-LoRA {self.file.path.name} is for {made_for}, the model is {model.family.name}.",
                hint="Use one made for this kind of model, or load the model it was made for.",
                file=self.file.path,
            )
        sizes = with_hint(unet, self.file)
        base = model.leasable()
        own = {name for name in self.file if not name.endswith((".up", ".down"))}
        deltas = {name: made for name, made in base.deltas.items() if name not in own}
        for pair in pairs:
            name = f"{pair}.weight"
            deltas[name] = (*deltas.get(name, ()), self._factors(pair).delta(1.0, f"{identity(self.file)}|{pair}"))
        source = Borrowed(self.file, own, base.source)
        key = f"{identity(self.file)}#control+{base.key}"
        return Loadable(key, functools.partial(ControlNet, sizes), source, deltas, f"lora+{base.fingerprint}", self.setting.dtype)

    def _factors(self, pair: str) -> LowRank:
        return LowRank(self.file.tensor(f"{pair}.up"), self.file.tensor(f"{pair}.down"), 1.0)

    def runner(self, net: nn.Module, model: ModelHandle, control: Control) -> Runner:
        assert isinstance(net, ControlNet)
        whole = UNetControl(self.file, net.sizes, self.setting)
        return UNetRunner(whole, net, model, control)


class Borrowed(Mapping[str, Tensor]):
    """A file's own tensors, and those of a model for all other names."""

    def __init__(self, file: WeightFile, own: set[str], base: Mapping[str, Tensor]) -> None:
        self.file, self.own, self.base = file, own, base

    def __getitem__(self, name: str) -> Tensor:
        return self.file.tensor(name) if name in self.own else self.base[name]

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.base

    def __iter__(self) -> Iterator[str]:
        return iter(self.own | set(self.base))

    def __len__(self) -> int:
        return len(self.own | set(self.base))


class UNetRunner:
    """Runs the net; the picture goes through its hint net once a size."""

    def __init__(self, source: UNetControl, net: ControlNet, model: ModelHandle, control: Control) -> None:
        check(control.hint, net.sizes.hint_channels, source.title)
        self.source, self.net, self.model, self.control = source, net, model, control
        self._hints: dict[tuple[int, int], Tensor] = {}

    def __call__(self, x: Tensor, sigma: Tensor, inputs: Mapping[str, Any], members: int) -> Residuals:
        shown, t, _ = as_net_sees(self.model.noise, x, sigma, self.source.setting.dtype)
        width = self.net.sizes.unet.context
        context: Tensor = inputs["context"]
        if context.shape[-1] != width:
            text = f"The text encoding is {context.shape[-1]} wide, but {self.source.title} takes {width}."
            raise BadInput(text, hint="Use the text encoder that belongs to the model.")
        hint = for_members(self._hint(shown), x.shape[0], members)
        y = inputs.get("y")
        made: dict[str, list[Tensor]] = self.net(
            shown, t, context.to(shown.dtype), hint, None if y is None else y.to(shown.dtype), self.control.types
        )
        if self.source.pooled:
            made = {place: [r.mean((2, 3), keepdim=True) for r in values] for place, values in made.items()}
        return made

    def _hint(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if (height, width) not in self._hints:
            assert self.control.hint is not None
            sizes = self.net.sizes
            picture = fitted(self.control.hint, width * sizes.scale, height * sizes.scale, sizes.hint_channels)
            self._hints[(height, width)] = self.net.hint(picture.to(x), self.control.types)
        return self._hints[(height, width)]


def unet_of(model: ModelHandle) -> UNetSizes | None:
    """The sizes of a model that is a UNet of this kind."""
    return model.sizes if isinstance(model.sizes, UNetSizes) else None


class UNetKind:
    """Whole nets and differences."""

    def read(self, file: WeightFile, setting: Setting) -> UNetControl | None:
        named = net_names(file)
        if named is None or "lora_controlnet" in file:
            return None
        sizes = self._sizes(named)
        pooled = file.path.stem.endswith("_shuffle")
        require(functools.partial(ControlNet, sizes), named, "a ControlNet")
        if not any(mark in file for mark in ("difference", "control_model.difference")):
            return UNetControl(named, sizes, setting, pooled)
        if setting.base is None:
            raise BadInput(
                f"The ControlNet {file.path.name} is stored as a difference to a model.",
                hint="Load it with the node Load ControlNet Model (diff), and give that node the model.",
                file=file.path,
            )
        return DifferenceControl(named, sizes, setting, pooled, setting.base)

    def _sizes(self, named: WeightFile) -> ControlSizes:
        try:
            return control_sizes(named)
        except (KeyError, ValueError, IndexError) as error:
            text = f"{named.path.name} looks like a ControlNet, but its weights contradict each other ({error})."
            raise BadFile(text, hint="The file is incomplete or damaged: fetch it again.", file=named.path) from error


class LowRankKind:
    """Control-LoRA."""

    def read(self, file: WeightFile, setting: Setting) -> LowRankControl | None:
        return LowRankControl(file, setting) if "lora_controlnet" in file and HINT in file else None
