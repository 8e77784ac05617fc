"""Several LoRAs as one: sums, TIES (Yadav et al. 2023, arXiv:2306.01708), DARE (Yu et al. 2023, arXiv:2311.03099), by magnitude.

Each works on what the files do to a weight, α/r · up · down, or, as peft does it, on both factors by themselves.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.weights.adapters.kinds import Adapter, Difference, LowRank
from backend.weights.adapters.lowrank import closest, shortened
from backend.weights.adapters.read import read_adapters
from backend.weights.file import WeightFile

SPELLINGS = (
    (re.compile(r"lora_unet_|unet\.|diffusion_model\.|model\.diffusion_model\.|lycoris_(?!text_model)"), "lora_unet_"),
    (re.compile(r"lora_te2_|text_encoder_2\.|text_encoders\.clip_g\.transformer\."), "lora_te2_"),
    (re.compile(r"lora_te1?_|text_encoder\.|text_encoders\.clip_[lh]\.transformer\.|lycoris_(?=text_model)"), "lora_te_"),
)
"""How the names of modules begin, and how kohya's begin."""


@dataclass(frozen=True)
class Share:
    """A file of LoRAs and how much of it."""

    file: WeightFile
    weight: float


@dataclass(frozen=True)
class Recipe:
    """How files become one."""

    method: str = "linear"
    """One of METHODS."""
    rank: int = 0
    """Of the result; 0: for sums the ranks of all together, else the largest."""
    density: float = 0.5
    """The share of values that are kept."""
    majority: str = "total"
    """Which sign wins a place: that of the larger sum ("total") or that of more files ("frequency")."""
    factors: bool = False
    """Combine up and down by themselves; all must have one rank."""
    seed: int = 0


@dataclass(frozen=True)
class Change:
    """What one file does to one weight, float32."""

    up: Tensor
    """[out, r], the scale inside."""
    down: Tensor
    """[r, inputs of a kernel]."""
    kernel: tuple[int, ...]
    """Shape of the weight behind its rows."""


def spelled(module: str) -> str:
    """A module in kohya's spelling, whatever the spelling of its file, so that files of different trainers meet."""
    for pattern, start in SPELLINGS:
        found = pattern.match(module)
        if found:
            name = start + module[found.end() :].replace(".", "_")
            return f"{name}_0" if name.endswith("_to_out") else name
    return module


def combined(shares: Sequence[Share], recipe: Recipe, tick: Callable[[int, int], None] = lambda done, of: None) -> dict[str, Tensor]:
    """One LoRA out of several, as tensors under kohya's names, scale 1. `tick(done, of)` is called for every module.

    Raises BadInput for adapters that are no LoRA, for ranks or shapes that differ, and BadFile for damaged files.
    """
    groups: dict[tuple[str, str], list[tuple[Share, Adapter]]] = {}
    for share in shares:
        for target, adapter in read_adapters(share.file).by_target.items():
            groups.setdefault((spelled(target.module), target.leaf), []).append((share, adapter))
    if not groups:
        names = ", ".join(share.file.path.name for share in shares)
        raise BadInput(f"{names}: no LoRA is in there.", hint="Choose files from the loras folder.")
    pair = any(module.startswith("lora_te2_") for module, _ in groups)
    out: dict[str, Tensor] = {}
    for done, ((module, leaf), parts) in enumerate(groups.items()):
        tick(done, len(groups))
        name = re.sub("^lora_te_", "lora_te1_", module) if pair else module
        out |= _module(name, leaf, parts, recipe)
    return out


def _module(name: str, leaf: str, parts: Sequence[tuple[Share, Adapter]], recipe: Recipe) -> dict[str, Tensor]:
    """The tensors of one module, from the files that change it."""
    differences = [(share, adapter) for share, adapter in parts if type(adapter) is Difference]
    if len(differences) == len(parts):
        whole = sum(share.weight * adapter.value.float() for share, adapter in differences)
        assert isinstance(whole, Tensor)
        return {f"{name}.{'diff_b' if leaf == 'bias' else 'diff'}": whole}
    for share, adapter in parts:
        if not isinstance(adapter, LowRank):
            raise BadInput(
                f"{share.file.path.name} changes {name} by something else than a LoRA.",
                hint="Only LoRA and LoCon can be merged; put the others on a model one after the other.",
                file=share.file.path,
            )
    changes = [_change(adapter) for _, adapter in parts if isinstance(adapter, LowRank)]
    if len({(c.up.shape[0], c.kernel) for c in changes}) > 1:
        raise BadInput(
            f"The LoRAs change {name} in different shapes: they are for different kinds of models.", hint="Merge LoRAs of one kind."
        )
    weights = [share.weight for share, _ in parts]
    up, down = (_by_factors if recipe.factors else _by_products)(name, changes, weights, recipe)
    kernel, dtype = changes[0].kernel, next(adapter.up.dtype for _, adapter in parts if isinstance(adapter, LowRank))
    ones = (1,) * (len(kernel) - 1)
    return {
        f"{name}.lora_up.weight": up.reshape(*up.shape, *ones).to(dtype).contiguous(),
        f"{name}.lora_down.weight": down.reshape(-1, *kernel).to(dtype).contiguous(),
        f"{name}.alpha": torch.tensor(float(up.shape[1])),
    }


def _change(adapter: LowRank) -> Change:
    up, down = adapter.factors(torch.empty(0))
    shaped = adapter.down.shape[1:] if adapter.mid is None else (adapter.down.shape[1], *adapter.mid.shape[2:])
    return Change(up * adapter.scale, down, tuple(shaped))


def _by_products(name: str, changes: Sequence[Change], weights: Sequence[float], recipe: Recipe) -> tuple[Tensor, Tensor]:
    if recipe.method == "linear":
        up = torch.cat([c.up * w for c, w in zip(changes, weights, strict=True)], dim=1)
        down = torch.cat([c.down for c in changes])
        return shortened(up, down, recipe.rank or up.shape[1])
    whole = METHODS[recipe.method]([c.up @ c.down for c in changes], weights, recipe, _dice(name, recipe))
    return closest(whole, recipe.rank or max(c.up.shape[1] for c in changes))


def _by_factors(name: str, changes: Sequence[Change], weights: Sequence[float], recipe: Recipe) -> tuple[Tensor, Tensor]:
    ranks = sorted({c.up.shape[1] for c in changes})
    if len(ranks) > 1:
        raise BadInput(
            f"The LoRAs have the ranks {' and '.join(map(str, ranks))} at {name}; by factors, all need one rank.",
            hint="Combine what they do to the weights instead.",
        )
    roots = [abs(w) ** 0.5 for w in weights]
    signed = [root if w >= 0 else -root for root, w in zip(roots, weights, strict=True)]
    method, dice = METHODS[recipe.method], _dice(name, recipe)
    up = method([c.up for c in changes], roots, recipe, dice)
    down = method([c.down for c in changes], signed, recipe, dice)
    return shortened(up, down, recipe.rank or up.shape[1])


def _dice(name: str, recipe: Recipe) -> torch.Generator:
    """Random numbers that do not depend on which modules came before."""
    return torch.Generator().manual_seed((recipe.seed + zlib.crc32(name.encode())) % 2**63)


Method = Callable[[Sequence[Tensor], Sequence[float], Recipe, torch.Generator], Tensor]


def linear(parts: Sequence[Tensor], weights: Sequence[float], recipe: Recipe, dice: torch.Generator) -> Tensor:
    """Σ w_i t_i."""
    return (torch.stack(list(parts)) * _column(weights, parts[0])).sum(0)


def magnitude(parts: Sequence[Tensor], weights: Sequence[float], recipe: Recipe, dice: torch.Generator) -> Tensor:
    """The sum of what is left of each part when its smallest values are dropped."""
    return linear([_largest(t, recipe.density) for t in parts], weights, recipe, dice)


def dare_linear(parts: Sequence[Tensor], weights: Sequence[float], recipe: Recipe, dice: torch.Generator) -> Tensor:
    """The sum of what is left of each part when values are dropped at random and the others made larger."""
    return linear([_random(t, recipe.density, dice) for t in parts], weights, recipe, dice)


def ties(parts: Sequence[Tensor], weights: Sequence[float], recipe: Recipe, dice: torch.Generator) -> Tensor:
    """Trim, elect a sign for every place, and take the mean of those that agree with it."""
    return _agreed([_largest(t, recipe.density) for t in parts], weights, recipe)


def dare_ties(parts: Sequence[Tensor], weights: Sequence[float], recipe: Recipe, dice: torch.Generator) -> Tensor:
    """TIES with a random trim."""
    return _agreed([_random(t, recipe.density, dice) for t in parts], weights, recipe)


METHODS: Mapping[str, Method] = {
    "linear": linear, "ties": ties, "dare_linear": dare_linear, "dare_ties": dare_ties, "magnitude_prune": magnitude,
}  # fmt: skip


def _column(weights: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(list(weights), dtype=like.dtype).reshape(-1, *[1] * like.dim())


def _largest(t: Tensor, density: float) -> Tensor:
    """t with all but its largest values (a share of `density`) set to zero."""
    keep = int(density * t.numel())
    kept = torch.zeros_like(t).flatten()
    places = t.abs().flatten().topk(keep).indices
    kept[places] = t.flatten()[places]
    return kept.reshape(t.shape)


def _random(t: Tensor, density: float, dice: torch.Generator) -> Tensor:
    return t * torch.bernoulli(torch.full_like(t, density), generator=dice) / density


def _agreed(parts: Sequence[Tensor], weights: Sequence[float], recipe: Recipe) -> Tensor:
    stacked = torch.stack(list(parts))
    votes = stacked.sum(0) if recipe.majority == "total" else stacked.sign().sum(0)
    agree = stacked.sign() == torch.where(votes >= 0, 1.0, -1.0)
    total = (stacked * _column(weights, parts[0]) * agree).sum(0)
    return total / agree.sum(0).clamp(min=1)
