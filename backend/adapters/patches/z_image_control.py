"""ControlNets for Z-Image by Alibaba PAI (Fun, Union): blocks beside the stream look at a picture and add to what it makes.

Parameter names are those of the published files, but for queries, keys and values, which are one product here as in the net.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from backend.adapters.patches import Picture, Shown
from backend.base.errors import BadInput
from backend.diffusion.batching import repeated
from backend.diffusion.handle import ModelHandle
from backend.diffusion.members import for_members, members_in
from backend.families.z_image.names import from_diffusers
from backend.families.z_image.net import PATCH, ModulatedBlock, ZImageNet, ZImageSizes
from backend.imaging.resize import resize
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import Linear
from backend.nn.patchify import fitted, to_tokens
from backend.nn.rope import Turn
from backend.weights.complete import require
from backend.weights.detect import count
from backend.weights.file import Renamed, Views, WeightFile, identity

EMBEDDER = "control_all_x_embedder.2-1.weight"
REFINED = "control_noise_refiner.0.before_proj.weight"


@dataclass(frozen=True)
class ControlSizes:
    net: ZImageSizes
    """Of the blocks; its number of layers is that of the control's own."""
    shown: int
    """Channels of what the control looks at."""
    refiners: int
    steered: bool
    """Whether blocks of its own steer the refining of the picture's tokens; else those only refine what it looks at."""


class ControlBlock(ModulatedBlock):
    """A block of the net, and what of it is added to the net. The first of a row begins from the net's own tokens."""

    def __init__(self, sizes: ZImageSizes, first: bool) -> None:
        super().__init__(sizes, sizes.told)
        self.before_proj = Linear(sizes.width, sizes.width) if first else None
        self.after_proj = Linear(sizes.width, sizes.width)


def row(blocks: nn.ModuleList, control: Tensor, tokens: Tensor, by: Turn, time: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The control after a row of blocks, and what each of them adds to the net."""
    hints = []
    for block in blocks:
        assert isinstance(block, ControlBlock)
        if block.before_proj is not None:
            control = block.before_proj(control) + tokens
        control = block(control, by, time)
        hints.append(block.after_proj(control))
    return control, hints


class ZImageControl(nn.Module):
    def __init__(self, sizes: ControlSizes) -> None:
        super().__init__()
        own = sizes.net
        self.control_all_x_embedder = nn.ModuleDict({"2-1": Linear(sizes.shown * PATCH * PATCH, own.width)})
        self.control_layers = nn.ModuleList(ControlBlock(own, i == 0) for i in range(own.layers))
        self.control_noise_refiner = nn.ModuleList(
            ControlBlock(own, i == 0) if sizes.steered else ModulatedBlock(own, own.told) for i in range(sizes.refiners)
        )


@dataclass(frozen=True)
class ZImagePatch:
    """Such a file."""

    file: WeightFile
    loadable: Loadable
    sizes: ControlSizes
    plain: bool
    """The first version: what it looks at is refined by blocks of its own, and never meets the picture while that is refined."""

    @property
    def title(self) -> str:
        return f"The model patch {self.file.path.name}, which is for Z-Image,"

    def steered(self, model: ModelHandle, picture: Picture) -> ModelHandle:
        sizes = model.sizes
        if not isinstance(sizes, ZImageSizes) or sizes.width != self.sizes.net.width:
            raise BadInput(
                f"The model patch {self.file.path.name} is for Z-Image, the model is {model.family.name}.",
                hint="Use a patch made for this kind of model, or load the model it was made for.",
                input="model_patch",
            )
        if picture.image is None and (picture.mask is None or self.sizes.shown <= sizes.channels):
            raise BadInput(f"{self.title} needs a control picture.", hint="Connect one.", input="image")
        model.family.latent.check_vae(picture.vae.channels)
        return model.with_tap("stream", Shown(self, picture, Bound))


class Bound:
    """For the length of one sampling; the picture is encoded once a size."""

    def __init__(self, tap: Shown, net: ZImageControl, model: ModelHandle, pool: Pool) -> None:
        self.patch, self.picture, self.net, self.model, self.pool = tap.patch, tap.picture, net, model, pool
        self._shown: dict[tuple[int, ...], Tensor] = {}
        self._control: Tensor | None = None
        self._refined: Tensor | None = None
        self._hints: dict[int, Tensor] = {}

    def __call__(self, tokens: Tensor, place: str | int, facts: dict[str, Any]) -> Tensor:
        by, time = facts["turn"], facts["time"]
        if place == "picture":
            self._begin(tokens, facts, by, time)
        elif place == "both":
            assert self._control is not None
            both = torch.cat([self._control, facts["prompt"]], dim=1)
            seen = tokens if self._refined is None else torch.cat([self._refined, facts["prompt"]], dim=1)
            _, hints = row(self.net.control_layers, both, seen, by, time)
            every = self.model.sizes.layers // len(hints)
            self._hints = {i * every: hint for i, hint in enumerate(hints)}
        elif not isinstance(place, str) and place in self._hints:
            return tokens + self._hints.pop(place) * self.picture.strength
        return tokens

    def _begin(self, tokens: Tensor, facts: dict[str, Any], by: Turn, time: Tensor) -> None:
        """Look at the picture, and refine what is seen: alone, or together with the picture that is made."""
        net = cast(ZImageNet, facts["net"])
        shown = for_members(self._latent(facts["latent"]), len(tokens), members_in(facts))
        control = net.filled(self.net.control_all_x_embedder["2-1"](to_tokens(shown, PATCH, channels_last=True)))
        self._refined = None
        if self.patch.plain:
            for block in self.net.control_noise_refiner:
                control = block(control, by, time)
        else:
            blocks = self.net.control_noise_refiner if self.patch.sizes.steered else self.net.control_layers
            control, hints = row(blocks, control, tokens, by, time)
            for block, hint in zip(net.noise_refiner, hints, strict=False):
                tokens = block(tokens, by, time) + hint * self.picture.strength
            self._refined = tokens
        self._control = control

    def _latent(self, latent: Tensor) -> Tensor:
        """What the control looks at, [B, channels, height, width] as the net sees latents."""
        size = tuple(latent.shape[-2:])
        if size not in self._shown:
            self._shown[size] = fitted(self._encoded(size[0], size[1]), PATCH)
        return self._shown[size].to(latent)

    def _encoded(self, height: int, width: int) -> Tensor:
        """The control picture's latent; then, for patches that know holes, what is kept (1) and the latent of what lies around them."""
        picture, wanted, channels = self.picture, self.model.family.latent, self.patch.sizes.shown
        wide, tall = width * wanted.factor, height * wanted.factor

        def seen(pixels: Tensor) -> Tensor:
            return wanted.process_in(picture.vae.encode(pixels, self.pool))

        def sized(image: Tensor) -> Tensor:
            return resize(image[..., :3].movedim(-1, 1), wide, tall, "area", "center").movedim(1, -1)

        shown = seen(sized(picture.image)) if picture.image is not None else torch.zeros(1, wanted.channels, height, width)
        if channels <= wanted.channels:
            return shown
        if picture.mask is None:
            return torch.cat([shown, shown.new_zeros(len(shown), channels - wanted.channels, height, width)], dim=1)
        mask = resize(picture.mask.reshape(-1, 1, *picture.mask.shape[-2:]).float(), wide, tall, "bilinear", "center")
        kept = (mask < 0.5).float()
        around = sized(picture.beneath) if picture.beneath is not None else torch.full((1, tall, wide, 3), 0.5)
        hidden = (around * 2 - 1) * kept.movedim(1, -1) / 2 + 0.5  # holes are grey
        keep = resize(1 - mask.round(), width, height, "nearest-exact", "disabled")
        many = max(len(shown), len(hidden), len(keep))
        return torch.cat([repeated(part, many) for part in (shown, keep, seen(hidden))], dim=1)


def read(file: WeightFile, dtype: torch.dtype) -> ZImagePatch | None:
    """The patch in a file, or None where it is of another kind. Raises BadFile for a damaged one."""
    if EMBEDDER not in file:
        return None
    named = Renamed(file, from_diffusers(file))
    width, shown = file[EMBEDDER].shape
    first = "control_layers.0."
    own = ZImageSizes(
        channels=16, width=width, heads=width // named[f"{first}attention.k_norm.weight"].shape[0],
        hidden=named[f"{first}feed_forward.w1.weight"].shape[0], layers=count(named, "control_layers"), refiners=0, context=0,
        told=named[f"{first}adaLN_modulation.0.weight"].shape[1], time_hidden=0,
    )  # fmt: skip
    holes = shown // (PATCH * PATCH) > own.channels
    # the second version's files may carry refiners that were never taught; its blocks refine what they look at themselves
    steered = REFINED in file and bool(torch.any(file.tensor(REFINED)))
    sizes = ControlSizes(own, shown // (PATCH * PATCH), count(named, "control_noise_refiner") if steered or not holes else 0, steered)
    build = functools.partial(ZImageControl, sizes)
    require(build, named, "a model patch for Z-Image")
    return ZImagePatch(file, Loadable(f"{identity(file)}#patch", build, Views(named), dtype=dtype), sizes, plain=not holes)
