"""Where one weight comes from. A layer asks its slot; it never knows whether the answer was resident or read just now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from backend.weights.quant.packed import Packed, unpacks

Delta = Callable[[Tensor], Tensor]
"""Original weight -> patched weight. Called with a private float32 copy on its device, which it may edit and give back."""

RowChange = Callable[[Tensor, int], None]
"""Changes rows [n, columns] of a weight in place, float32 on the CPU; the number is that of the first. A delta that can work so has
`by_rows() -> RowChange | None`: a piece at a time, a weight never leaves the cache of a core between being read and written."""


class Slot(Protocol):
    """Answers with the weight on `device` in `dtype`, patches applied. The result must be treated as read-only."""

    def fetch(self, device: torch.device, dtype: torch.dtype) -> Tensor: ...


def materialise(weight: Tensor, deltas: tuple[Delta, ...], device: torch.device, dtype: torch.dtype, room: Tensor | None = None) -> Tensor:
    """A private copy of `weight` on `device` in `dtype` with `deltas` applied in float32; in `room` (flat, in `dtype`, of at least its
    size) where that saves memory."""
    moved = weight.device != device and weight.itemsize <= dtype.itemsize and unpacks(device)
    if moved:  # torch converts where a tensor comes from; a GPU does that faster, and less travels
        weight = weight.to(device)
    if deltas and weight.dim() > 1 and weight.device.type == device.type == "cpu":
        changes = [change for delta in deltas if (change := _by_rows(delta)) is not None]
        if len(changes) == len(deltas):
            return _in_pieces(weight, changes, dtype, room)
    if deltas:
        patched = weight.to(device, torch.float32, copy=True, memory_format=torch.contiguous_format)
        for delta in deltas:
            patched = delta(patched)
        weight = patched
    if weight.dtype == torch.float16 and dtype == torch.bfloat16 and weight.device.type == device.type == "cpu" and weight.is_contiguous():
        return _half_to_bfloat(weight, room)
    if room is not None and not deltas:
        return room[: weight.numel()].view(weight.shape).copy_(weight)
    return weight.to(device=device, dtype=dtype, memory_format=torch.contiguous_format, copy=not (deltas or moved))


def _by_rows(delta: Delta) -> RowChange | None:
    make: Callable[[], RowChange | None] | None = getattr(delta, "by_rows", None)
    return None if make is None else make()


def _in_pieces(weight: Tensor, changes: Sequence[RowChange], dtype: torch.dtype, room: Tensor | None) -> Tensor:
    """A few rows after the other: to float32, changed, rounded to `dtype`."""
    result = torch.empty(weight.shape, dtype=dtype) if room is None else room[: weight.numel()].view(weight.shape)
    source, target = weight.flatten(1), result.view(weight.shape[0], -1)
    count = max(1, _PIECE * torch.get_num_threads() // source.shape[1])
    scratch = _scratch(min(count, len(source)) * source.shape[1]).view(-1, source.shape[1])
    for begin in range(0, len(source), count):
        piece = scratch[: min(count, len(source) - begin)]
        piece.copy_(source[begin : begin + count])
        for change in changes:
            change(piece, begin)
        target[begin : begin + count].copy_(piece)
    return result


def _scratch(count: int) -> Tensor:
    """`count` values in float32, this thread's own: fresh memory for each weight would cost more than the work."""
    held: Tensor | None = getattr(_OWN, "scratch", None)
    if held is None or held.numel() < count:
        with torch.inference_mode(False):  # it outlives the mode it is first asked for in
            _OWN.scratch = held = torch.empty(count)
    return held[:count]


_OWN = threading.local()
_PIECE = 1 << 19  # values; their float32 form stays in the caches of a core


def _half_to_bfloat(weight: Tensor, room: Tensor | None) -> Tensor:
    """The same rounding as a direct cast, which goes through float32 value by value; both halves of the way are vectorised."""
    result = torch.empty(weight.shape, dtype=torch.bfloat16) if room is None else room[: weight.numel()].view(weight.shape)
    source, target, scratch = weight.view(-1), result.view(-1), _scratch(min(_PIECE, weight.numel()))
    for begin in range(0, weight.numel(), _PIECE):
        piece = source[begin : begin + _PIECE]
        target[begin : begin + _PIECE].copy_(scratch[: len(piece)].copy_(piece))
    return result


Pack = Callable[[Tensor], Tensor]
"""Weight -> the same values in the layout its layer is fastest with."""


class Resident:
    """A weight kept on the device. It is packed at its first use: half of an autoencoder, say, may never be used."""

    __slots__ = ("_lock", "_make", "_weight", "nbytes", "pack")

    def __init__(self, weight: Tensor, pack: Pack | None = None) -> None:
        self._weight: Tensor | None = weight
        self._make: Callable[[], Tensor] | None = None
        self.nbytes: int = weight.nbytes
        self.pack = pack
        self._lock = threading.Lock()

    @classmethod
    def later(cls, make: Callable[[], Tensor], nbytes: int, pack: Pack | None = None) -> Resident:
        """One that `make` brings to the device at its first use; until then it takes no memory, though `nbytes` are set aside for it."""
        slot = cls(torch.empty(0), pack)
        slot._weight, slot._make, slot.nbytes = None, make, nbytes
        return slot

    @property
    def is_here(self) -> bool:
        """Whether the weight is on the device already."""
        return self._weight is not None

    def settle(self) -> Tensor:
        """Bring the weight to the device and pack it, unless that has been done. Any thread may call it."""
        if self._weight is None or self.pack is not None:
            with self._lock:
                weight = self._weight
                if weight is None:
                    assert self._make is not None
                    weight = self._make()
                    self._make = None
                if self.pack is not None:
                    weight, self.pack = self.pack(weight), None
                self._weight = weight
        return self._weight

    def fetch(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        weight = self._weight
        if weight is None or (self.pack is not None and weight.dtype == dtype and weight.device == device):
            weight = self.settle()
        if weight.dtype == dtype and weight.device == device:
            return weight
        return (weight.to_dense() if weight.is_mkldnn else weight).to(device=device, dtype=dtype)


class Compact:
    """A weight kept on the device in the few bits of its file and made into numbers at each use."""

    __slots__ = ("_make", "_packed", "dtype", "nbytes", "pack")

    def __init__(self, make: Callable[[], Packed], nbytes: int, dtype: torch.dtype, pack: Pack) -> None:
        self._make, self.nbytes, self.dtype, self.pack = make, nbytes, dtype, pack
        self._packed: Packed | None = None

    @property
    def is_here(self) -> bool:
        """Whether the bits are on the device already."""
        return self._packed is not None

    def fetch(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        if self._packed is None:
            self._packed = self._make()
        weight = self._packed.dense().to(self.dtype)
        return self.pack(weight) if dtype == self.dtype else weight.to(dtype)


class Streamed:
    """A weight read from its source at each use, in the same way as it would be made resident: results are equal bit for bit.

    `bring(slot)` makes it, or has made it already; `done(key)` is told when its pages are not needed any more. `nbytes` are what it takes
    while it is used. What the file keeps in few bits, `packed`, travels so; `form` makes of it what the layer takes, otherwise it becomes
    numbers.
    """

    __slots__ = ("bring", "deltas", "done", "dtype", "form", "key", "nbytes", "pack", "packed", "source")

    def __init__(
        self,
        source: Mapping[str, Tensor],
        key: str,
        deltas: tuple[Delta, ...],
        dtype: torch.dtype,
        pack: Pack,
        done: Callable[[str], None] = lambda key: None,
        bring: Callable[[Streamed], Tensor] | None = None,
        nbytes: int = 0,
        packed: Packed | None = None,
        form: Callable[[Packed], Tensor] | None = None,
    ) -> None:
        self.source, self.key, self.deltas, self.dtype, self.pack, self.done = source, key, deltas, dtype, pack, done
        self.bring, self.nbytes, self.packed, self.form = bring, nbytes, packed, form

    def make(self, device: torch.device, moved: Callable[[Tensor], Tensor] = lambda view: view) -> Tensor:
        """The weight as the layer wants it. `moved` brings a tensor of the file to the device."""
        packed = None if self.packed is None else self.packed.moved(lambda view: moved(view).to(device))
        if packed is not None and self.form is not None:
            made = self.form(packed)
        else:
            weight = moved(self.source[self.key]) if packed is None else packed.dense()
            made = self.pack(materialise(weight, self.deltas, device, self.dtype))
        self.done(self.key)
        return made

    def fetch(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        weight = self.make(device) if self.bring is None else self.bring(self)
        return weight if dtype == self.dtype else (weight.to_dense() if weight.is_mkldnn else weight).to(dtype)
