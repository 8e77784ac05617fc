"""Bring the weights of layers that do not stay on the device just before they are used, while earlier layers compute.

The order in which a net asks for them is learnt in its first pass. On CUDA they travel through a ring of pinned buffers on a stream of
their own; elsewhere a thread reads, converts and packs them. Whichever way, the values are those the layer would have if it stayed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backend.weights.slot import Streamed

Brought = tuple[Tensor, Any]  # a weight, and the event after which it may be used (None: now)


@dataclass(slots=True)
class Traffic:
    """What streaming cost: bytes and seconds of bringing, and the seconds for which layers had to wait for it."""

    nbytes: int = 0
    busy: float = 0.0
    waited: float = 0.0

    @property
    def hidden(self) -> float:
        """The part of the bringing that ran while layers computed, 0 to 1."""
        return max(0.0, 1 - self.waited / self.busy) if self.busy else 0.0


class Stream:
    """Brings streamed weights of one net to `device`, at most `window` bytes of them ahead of their use. For one thread at a time.
    `check` is asked at each use and raises what is to end the run."""

    def __init__(self, device: torch.device, window: int = 0, check: Callable[[], None] = lambda: None) -> None:
        self.window, self.traffic, self._check = window, Traffic(), check
        self._bringing = threading.Lock()
        self._after: dict[Streamed, Streamed] = {}
        self._last: Streamed | None = None
        self._ready: dict[Streamed, Future[Brought]] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._lane: _Plain | _Cuda = _Cuda(device) if device.type == "cuda" else _Plain(device)

    def take(self, slot: Streamed) -> Tensor:
        """The weight of `slot`, now; those that followed it last time are begun. Raises what reading, allocating and `check` raise."""
        self._check()
        if self._last is not None:
            self._after[self._last] = slot
            self._lane.launched(self._last.nbytes, self.window - slot.nbytes)
        self._last = slot
        begun = time.perf_counter()
        future = self._ready.pop(slot, None)
        if future is None:
            self._ready.clear()  # another order than last time: what was brought may never be asked for
            weight, event = self._bring(slot)
        else:
            weight, event = future.result()
        self._lane.wait(weight, event)
        self.traffic.waited += time.perf_counter() - begun
        self._begin(slot)
        return weight

    def rest(self) -> None:
        """Hold nothing until the next `take`."""
        self._ready.clear()
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
            self._thread = None

    def _begin(self, slot: Streamed) -> None:
        ahead, nbytes = self._after.get(slot), 0
        while ahead is not None and ahead is not slot and nbytes + ahead.nbytes <= self.window:
            nbytes += ahead.nbytes
            if ahead not in self._ready:
                if self._thread is None:
                    self._thread = ThreadPoolExecutor(1, thread_name_prefix="stream")
                try:
                    self._ready[ahead] = self._thread.submit(self._bring, ahead)
                except RuntimeError:  # no memory for a thread: it is brought when it is asked for
                    self._thread = None
                    return
            ahead = self._after.get(ahead)

    def _bring(self, slot: Streamed) -> Brought:
        with self._bringing:
            begun = time.perf_counter()
            with torch.inference_mode(), self._lane.use():
                brought = self._lane.bring(slot)
            self.traffic.busy += time.perf_counter() - begun
            self.traffic.nbytes += slot.nbytes
        return brought


class _Plain:
    """Reads, converts and packs where the caller is."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @contextmanager
    def use(self) -> Iterator[None]:
        yield

    def bring(self, slot: Streamed) -> Brought:
        return slot.make(self._device), None

    def wait(self, weight: Tensor, event: Any) -> None:
        return

    def launched(self, nbytes: int, room: int) -> None:
        return


class Flight:
    """Weights whose layers have been launched and may not have been computed yet: until then their memory is in use. The host runs far
    ahead of a device; unless it waits here, every weight of a net would be on its way at once, whatever the budget."""

    def __init__(self) -> None:
        self._weights: deque[tuple[Any, int]] = deque()

    def add(self, event: Any, nbytes: int) -> None:
        """One more, computed when `event` has come."""
        self._weights.append((event, nbytes))

    def land(self, room: int) -> None:
        """Wait until at most `room` bytes are under way."""
        while self._weights and sum(nbytes for _, nbytes in self._weights) > room:
            self._weights.popleft()[0].synchronize()


class _Cuda:
    """Copies through pinned buffers on a stream beside the computing one, and converts on the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._ring: list[tuple[Tensor, Any]] = [(torch.empty(0, dtype=torch.uint8), None) for _ in range(_BUFFERS)]
        self._turn = 0
        self._flight = Flight()

    @contextmanager
    def use(self) -> Iterator[None]:
        with torch.cuda.stream(self._stream):
            yield

    def bring(self, slot: Streamed) -> Brought:
        weight = slot.make(self._device, self._copied)
        return weight, self._stream.record_event()

    def wait(self, weight: Tensor, event: Any) -> None:
        computing = torch.cuda.current_stream(self._device)
        computing.wait_event(event)
        weight.record_stream(computing)

    def launched(self, nbytes: int, room: int) -> None:
        self._flight.add(torch.cuda.current_stream(self._device).record_event(), nbytes)
        self._flight.land(max(0, room))

    def _copied(self, view: Tensor) -> Tensor:
        """The tensor on the device, in the type of the file."""
        raw = view.contiguous().view(-1).view(torch.uint8)
        self._turn = (self._turn + 1) % _BUFFERS
        pinned, event = self._ring[self._turn]
        if event is not None:
            event.synchronize()  # its last copy has to be over before it is filled again
        if pinned.numel() < raw.numel():
            pinned = torch.empty(raw.numel(), dtype=torch.uint8, pin_memory=True)
        pinned[: raw.numel()].copy_(raw)
        copy = pinned[: raw.numel()].to(self._device, non_blocking=True)
        self._ring[self._turn] = (pinned, self._stream.record_event())
        return copy.view(view.dtype).view(view.shape)


_BUFFERS = 2
