"""Which conditioning entries can share one run of the net, and how their tensors are put together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from backend.diffusion.conditioning import Entry

_STRETCH = 4


@dataclass(frozen=True, eq=False)
class Work:
    """One entry of one role, to be predicted."""

    role: int
    entry: Entry
    weight: Tensor | None


class Batch(NamedTuple):
    """Entries that are predicted together, and their size of latent."""

    entries: int
    sizes: tuple[int, ...]


def group(work: Sequence[Work], repeats: bool = True) -> list[list[Work]]:
    """Work in as few groups as possible; order is kept inside a group. `repeats`: token lists of different lengths may be together."""
    groups: list[list[Work]] = []
    for item in work:
        for members in groups:
            if all(_together(item.entry, member.entry, repeats) for member in members):
                members.append(item)
                break
        else:
            groups.append([item])
    return groups


def batches(roles: Mapping[str, Sequence[Entry]], sigmas: Iterable[float], shape: Sequence[int], repeats: bool = True) -> set[Batch]:
    """What is run together at some of `sigmas`, on latents of `shape` [B, C, ...], when all roles are asked at once."""
    found: set[Batch] = set()
    seen: set[tuple[int, ...]] = set()
    everything = [Work(role, entry, None) for role, entries in enumerate(roles.values()) for entry in entries]
    for sigma in sigmas:
        active = [i for i, item in enumerate(everything) if item.entry.active(sigma)]
        if tuple(active) not in seen:
            seen.add(tuple(active))
            found |= {Batch(len(g), tuple(g[0].entry.sizes(shape[2:]))) for g in group([everything[i] for i in active], repeats)}
    return found


def fewer(most: int) -> list[int]:
    """`most` and its halves, down to 1."""
    return [most, *fewer(most // 2)] if most > 1 else [1]


def _together(a: Entry, b: Entry, repeats: bool) -> bool:
    """Whether two entries can be in one batch: same size of latent, same control and hooks, tensors that can be stacked."""
    if a.sizes() != b.sizes() or a.control is not b.control or a.grounding is not b.grounding:
        return False
    if a.cond.get("hooks") is not b.cond.get("hooks"):
        return False
    return a.inputs.keys() == b.inputs.keys() and all(stackable(a.inputs[k], b.inputs[k], repeats) for k in a.inputs)


def stackable(a: Tensor, b: Tensor, repeats: bool = True) -> bool:
    """Equal but for the batch; or, with `repeats`, token lists [n, tokens, dim] whose least common multiple is at most 4 times the
    shorter."""
    if a.shape[1:] == b.shape[1:]:
        return True
    if not repeats or a.ndim != 3 or b.ndim != 3 or a.shape[2] != b.shape[2]:
        return False
    return math.lcm(a.shape[1], b.shape[1]) // min(a.shape[1], b.shape[1]) <= _STRETCH


def stack(parts: Sequence[Tensor]) -> Tensor:
    """One batch. Shorter token lists are repeated whole: attention over a list said twice gives the same answer."""
    if len({p.shape[1:] for p in parts}) > 1:
        length = math.lcm(*(p.shape[1] for p in parts))
        parts = [p.repeat(1, length // p.shape[1], 1) for p in parts]
    return torch.cat(list(parts)) if len(parts) > 1 else parts[0]


def repeated(x: Tensor, count: int) -> Tensor:
    """x [n, ...] cycled or cut to `count` rows."""
    if x.shape[0] == count:
        return x
    if x.shape[0] == 1:
        return x.expand(count, *x.shape[1:])
    return x.repeat(math.ceil(count / x.shape[0]), *[1] * (x.ndim - 1))[:count]


def batch_inputs(members: Sequence[Work], x: Tensor) -> dict[str, Tensor]:
    """The keyword tensors for the members run together on latents x [B, C, ...]; each member gets B rows."""
    out: dict[str, Tensor] = {}
    for key in members[0].entry.inputs:
        parts = []
        for item in members:
            value = item.entry.inputs[key]
            if value.ndim == x.ndim and value.shape[2:] == x.shape[2:]:
                value = item.entry.crop(value)
            parts.append(repeated(value, x.shape[0]))
        out[key] = stack(parts)
    return out


def with_defaults(active: Sequence[Sequence[Entry]], shape: Sequence[int], device: torch.device) -> list[Work]:
    """Work for the active entries of each role. Entries marked default get the weight that the role's others leave of 1."""
    work = []
    for role, entries in enumerate(active):
        plain = [e for e in entries if not e.default]
        work += [Work(role, e, e.weight) for e in plain]
        defaults = [e for e in entries if e.default]
        if defaults:
            left = torch.ones(shape[0], 1, *shape[2:], device=device)
            for e in plain:
                e.crop(left).sub_(1.0 if e.weight is None else repeated(e.weight, shape[0]))
            left = left.relu_()
            work += [Work(role, e, e.crop(left)) for e in defaults]
    return work


def merge(roles: int, work: Sequence[Work], predictions: Sequence[Tensor], like: Tensor) -> list[Tensor]:
    """Per role the average of its predictions, weighted; zero where nothing applies. A lone unweighted one is returned as it is."""
    out = []
    for role in range(roles):
        mine = [(w, p) for w, p in zip(work, predictions, strict=True) if w.role == role]
        if len(mine) == 1 and mine[0][0].weight is None and mine[0][0].entry.area is None:
            out.append(mine[0][1])
            continue
        total = torch.zeros_like(like)
        count = torch.full((like.shape[0], 1, *like.shape[2:]), 1e-37, device=like.device, dtype=like.dtype)
        for item, prediction in mine:
            weight = 1.0 if item.weight is None else repeated(item.weight, like.shape[0])
            item.entry.crop(total).add_(prediction * weight)
            item.entry.crop(count).add_(weight)
        out.append(total / count)
    return out
