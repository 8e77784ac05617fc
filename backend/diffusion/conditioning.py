"""CONDITIONING lists become entries: where in the latent each applies, how strongly, and at which sigmas.

An area is (sizes..., starts...) over the latent's spatial dimensions: (h, w, y, x) for images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadInput

Conditioning = Sequence[Sequence[Any]]
"""What travels on the wire: [[tensor [B, tokens, dim], dict], ...]."""

Area = tuple[int, ...]

_FEATHER = 8
_SMALLEST = 8


@dataclass(frozen=True, eq=False)
class Entry:
    """One resolved conditioning entry. `weight` [n, 1, area...] multiplies its prediction; None means 1 everywhere."""

    cond: Mapping[str, Any]
    area: Area | None = None
    mask: Tensor | None = None
    weight: Tensor | None = None
    start: float = math.inf
    """Applies from this sigma down ..."""
    end: float = 0.0
    """... to this one, both included."""
    default: bool = False
    """Fills what other entries leave uncovered."""
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    """What the family made of it, at full latent size."""
    uid: UUID = field(default_factory=uuid4)
    """Names this entry for the length of a sampling; copies keep it."""

    @property
    def control(self) -> Any:
        return self.cond.get("control")

    @property
    def grounding(self) -> Any:
        """("position", model, boxes) of GLIGEN, or None."""
        return self.cond.get("gligen")

    def active(self, sigma: float) -> bool:
        return self.end <= sigma <= self.start

    def sizes(self, whole: Sequence[int] = ()) -> tuple[int, ...]:
        """The size of its part of latents of size `whole`."""
        return tuple(whole) if self.area is None else self.area[: len(self.area) // 2]

    def crop(self, x: Tensor) -> Tensor:
        """The part of x [B, C, ...] this entry is about."""
        return x if self.area is None else crop(x, self.area)


def crop(x: Tensor, area: Area) -> Tensor:
    """A view on `area` of x [B, C, ...]."""
    dims = len(area) // 2
    for d in range(dims):
        x = x.narrow(d + 2, area[dims + d], area[d])
    return x


def resolve(
    conditioning: Conditioning, shape: Sequence[int], percent_to_sigma: Callable[[float], float], device: torch.device
) -> list[Entry]:
    """Entries for latents of `shape` [B, C, ...]: percentages become cells, masks get the latent's size, percents become sigmas."""
    dims = tuple(shape[2:])
    entries = []
    for tensor, options in conditioning:
        cond = {**options, "cross_attn": tensor}
        area = _area(cond.get("area"), dims)
        mask = cond.get("mask")
        if mask is not None:
            mask = fit_mask(mask, dims, device)
            if cond.get("set_area_to_bounds") and len(dims) == 2:
                area = _clip(_bounds(mask), dims)
        starts = [cond[key] for key in ("start_percent", "clip_start_percent") if cond.get(key) is not None]
        ends = [cond[key] for key in ("end_percent", "clip_end_percent") if cond.get(key) is not None]
        entry = Entry(
            cond, area, mask,
            start=percent_to_sigma(max(starts)) if starts else math.inf,
            end=percent_to_sigma(min(ends)) if ends else 0.0,
            default=bool(cond.get("default")),
        )  # fmt: skip
        entries.append(replace(entry, weight=_weight(entry, dims, device)))
    return entries


def _area(area: Any, dims: Sequence[int]) -> Area | None:
    """Cells from cells or ("percentage", ...); an area of fewer dimensions covers the missing leading ones (frames) whole."""
    if area is None:
        return None
    if area[0] == "percentage":
        share = [float(a) for a in area[1:]]
        n = len(share) // 2
        sizes, starts = share[:n], share[n:]
        own = dims[len(dims) - n :]
        cells = [max(1, round(s * d)) for s, d in zip(sizes, own, strict=True)], [round(s * d) for s, d in zip(starts, own, strict=True)]
    else:
        n = len(area) // 2
        cells = [int(a) for a in area[:n]], [int(a) for a in area[n:]]
    missing = len(dims) - n
    if missing < 0:
        raise BadInput(f"A conditioning area has {n} dimensions, but the latent has {len(dims)}.", hint="Remove the area.")
    return _clip((*dims[:missing], *cells[0], *[0] * missing, *cells[1]), dims)


def _clip(area: Area, dims: Sequence[int]) -> Area:
    """The part of the area inside the latent. Raises BadInput when there is none."""
    n = len(dims)
    sizes = [min(area[d], dims[d] - area[n + d]) for d in range(n)]
    if min(sizes) <= 0:
        raise BadInput(
            f"A conditioning area {area} lies outside the latent of size {tuple(dims)}.",
            hint="Areas are placed in pixels of the image that is made; move the area or make the image larger.",
        )
    return (*sizes, *area[n:])


def fit_mask(mask: Tensor, dims: Sequence[int], device: torch.device) -> Tensor:
    """A conditioning mask as [n, *dims], bilinearly resized where its size differs."""
    mask = mask.to(device, torch.float32)
    if mask.ndim == len(dims):
        mask = mask[None]
    if len(dims) == 3 and mask.ndim == 3:  # one mask for every frame
        mask = F.interpolate(mask[:, None], size=tuple(dims[1:]), mode="bilinear", align_corners=False)
        return mask.expand(-1, dims[0], -1, -1)
    if tuple(mask.shape[1:]) != tuple(dims):
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(dims)]
        mask = F.interpolate(mask[:, None], size=tuple(dims), mode=mode, align_corners=False)[:, 0]
    return mask


def _bounds(mask: Tensor) -> Area:
    """The box around everything the masks [n, H, W] select, at least 8 cells a side; (8, 8, 0, 0) where nothing is selected."""
    selected = mask.abs().amax(0) > 0
    rows, columns = selected.any(1).nonzero(), selected.any(0).nonzero()
    if not len(rows):
        return (_SMALLEST, _SMALLEST, 0, 0)
    top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    return (max(_SMALLEST, bottom - top + 1), max(_SMALLEST, right - left + 1), top, left)


def _weight(entry: Entry, dims: Sequence[int], device: torch.device) -> Tensor | None:
    """strength x mask, or strength with feathered edges for an area without a mask."""
    strength = float(entry.cond.get("strength", 1.0))
    if entry.mask is not None:
        weight = entry.mask[:, None] * (float(entry.cond.get("mask_strength", 1.0)) * strength)
        return crop(weight, entry.area) if entry.area is not None else weight
    if entry.area is None:
        return None if strength == 1.0 else torch.full((1, 1, *dims), strength, device=device)
    return _feathered(entry.area, dims, device) * strength


def _feathered(area: Area, dims: Sequence[int], device: torch.device) -> Tensor:
    """Ones that fall off linearly over up to 8 cells (a quarter of the side at most) at sides that are not the latent's own border."""
    n = len(dims)
    weight = torch.ones(1, 1, *area[:n], device=device)
    for d in range(n):
        size, start = area[d], area[n + d]
        width = min(_FEATHER, size // 4)
        ramp = torch.arange(1, width + 1, device=device, dtype=torch.float32) / max(width, 1)
        line = torch.ones(size, device=device)
        if start != 0:
            line[:width] *= ramp
        if start + size < dims[d]:
            line[size - width :] *= ramp.flip(0)
        weight = weight * line.reshape(-1, *[1] * (n - 1 - d))
    return weight


def mirror_areas(roles: Mapping[str, list[Entry]]) -> dict[str, list[Entry]]:
    """Give every role an entry for each area of the others, so that guidance compares like with like.

    The added entry has the other's area, weight and range, and the text of this role's smallest entry that contains the area.
    """
    grown = {role: list(entries) for role, entries in roles.items()}
    for role, entries in roles.items():
        for entry in entries:
            if entry.area is None:
                continue
            for other in grown:
                if other != role and (twin := _twin(entry, grown[other])) is not None:
                    grown[other].append(twin)
    return grown


def _twin(entry: Entry, others: Sequence[Entry]) -> Entry | None:
    assert entry.area is not None
    best: Entry | None = None
    for other in others:
        if other.area is None:
            best = best or other
        elif _inside(entry.area, other.area) and (best is None or best.area is None or _cells(best.area) > _cells(other.area)):
            best = other
    if best is None or best.area == entry.area:
        return None
    return replace(entry, inputs=best.inputs, cond={**entry.cond, "cross_attn": best.cond["cross_attn"]})


def _inside(a: Area, b: Area) -> bool:
    n = len(a) // 2
    return all(a[n + d] >= b[n + d] and a[d] + a[n + d] <= b[d] + b[n + d] for d in range(n))


def _cells(area: Area) -> int:
    return math.prod(area[: len(area) // 2])


def spread(roles: Mapping[str, list[Entry]], key: str, wanted: Callable[[Entry], bool] = lambda e: True) -> dict[str, list[Entry]]:
    """Hand what whole-latent entries of "positive" have under `key` (a control net) to the other roles, unless these have their own."""
    given = [e.cond[key] for e in roles.get("positive", []) if e.area is None and e.cond.get(key) is not None and wanted(e)]
    out = {role: list(entries) for role, entries in roles.items()}
    for role, entries in roles.items():
        whole = [i for i, e in enumerate(entries) if e.area is None]
        if role == "positive" or not whole or any(entries[i].cond.get(key) is not None for i in whole):
            continue
        for n, value in enumerate(given):
            old = out[role][whole[n % len(whole)]]
            new = replace(old, cond={**old.cond, key: value})
            if old.cond.get(key) is None:
                out[role][whole[n % len(whole)]] = new
            else:
                out[role].append(new)
    return out
