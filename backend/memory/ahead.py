"""Bring the weights of a net on threads of their own while its first layers compute.

A net is ready at once; each weight is read, converted and packed when its layer first asks for it. The first to ask starts helpers that
bring those after it, in order of construction, which is about the order of use: reading, converting and computing then overlap, and a
processor with several cores converts several weights at a time. Only the part of the net that is being used is brought, since an encoder
may never follow its decoder.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.memory.direct import Direct
from backend.memory.threads import begun


class Ahead:
    """Brings the weights `names` of one net. `settle(name)` makes one unless it is there. `prefetch(name)` asks the system to read one that
    is still to come, and says how many bytes that are. `helpers` is the number of threads that settle."""

    def __init__(self, names: Sequence[str], settle: Callable[[str], object], prefetch: Callable[[str], int], helpers: int) -> None:
        self._names, self._settle, self._prefetch, self._helpers = names, settle, prefetch, helpers
        self.direct: Direct | None = None
        """Reads around the page cache, where that is better."""
        self._place = {name: i for i, name in enumerate(names)}
        self._lock = threading.Lock()
        self._moved = threading.Condition(self._lock)
        self._next = self._end = 0
        self._threads: list[threading.Thread] = []
        self._mine = threading.local()

    def asked(self, name: str) -> None:
        """A weight is about to be made. Unless a helper does so, those that follow are begun."""
        if getattr(self._mine, "helps", False):
            return
        at = self._place[name]
        with self._lock:
            if not at < self._next <= self._end:  # the first of all, or another part than the last one
                self._next = at + 1
            self._end = self._end_of_part(at)
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if self._threads or self._next >= self._end:
                return
            inference = torch.is_inference_mode_enabled()
            helpers = [threading.Thread(target=self._help, args=(inference,), name="bring-ahead") for _ in range(self._helpers)]
            reader = threading.Thread(target=self._read, args=(at + 1,), name="read-ahead")
            self._threads = [thread for thread in (*helpers, reader) if begun(thread)]

    def rest(self) -> None:
        """Bring nothing more until somebody asks again; returns when the helpers are done with what they are at."""
        with self._lock:
            self._next = self._end = 0
            threads, self._threads = self._threads, []
            self._moved.notify_all()
        for thread in threads:
            thread.join()
        if self.direct is not None:
            self.direct.rest()
        self._mine = threading.local()  # what this thread worked in goes too

    def close(self) -> None:
        """The net is dropped. Its weights go at once, and not when circles of references are looked for."""
        self.rest()
        self._settle, self._prefetch = _nothing, _no_bytes

    def room(self, count: int, dtype: torch.dtype) -> Tensor:
        """`count` values to make a weight in before it is packed, the same for each that this thread makes: memory that is new to the
        process costs more than the work."""
        held: Tensor | None = getattr(self._mine, "room", None)
        if held is None or held.dtype != dtype or held.numel() < count:
            self._mine.room = held = torch.empty(count, dtype=dtype)
        return held

    def _end_of_part(self, at: int) -> int:
        part, end = self._names[at].partition(".")[0], at + 1
        while end < len(self._names) and self._names[end].partition(".")[0] == part:
            end += 1
        return end

    def _take(self) -> str | None:
        with self._lock:
            if self._next >= self._end:
                return None
            self._next += 1
            self._moved.notify_all()
            return self._names[self._next - 1]

    def _help(self, inference: bool) -> None:
        self._mine.helps = True
        _use_one_core()
        with torch.inference_mode(inference):
            while (name := self._take()) is not None:
                try:
                    self._settle(name)
                except Exception:  # noqa: BLE001  whoever needs this weight meets the same, and says so
                    with self._lock:
                        self._end = 0
                        self._moved.notify_all()

    def _read(self, at: int) -> None:
        """Keep the disk busy: have the system read what comes, far enough ahead that it never waits for the next question."""
        waiting: deque[tuple[int, int]] = deque()
        nbytes = 0
        while True:
            with self._lock:
                while True:
                    while waiting and waiting[0][0] < self._next:
                        nbytes -= waiting.popleft()[1]
                    if nbytes < _FAR or at >= self._end:
                        break
                    self._moved.wait()
                if at >= self._end:
                    return
            try:
                asked = self._prefetch(self._names[at])
            except Exception:  # noqa: BLE001  only a hint; reading itself will say what is wrong
                return
            waiting.append((at, asked))
            nbytes += asked
            at += 1


def _nothing(name: str) -> None:
    return


def _no_bytes(name: str) -> int:
    return 0


@dataclass(slots=True)
class Intake:
    """What was read of a net: the first moment and the last (seconds since the epoch), seconds of work in all threads together, bytes,
    and the seconds in which some thread was at it."""

    first: float
    last: float
    busy: float = 0.0
    nbytes: int = 0
    spent: float = 0.0
    until: float = 0.0

    def add(self, began: float, ended: float, nbytes: int) -> None:
        """One more weight; they come in the order of their ends."""
        self.spent += max(0.0, ended - max(began, self.until))
        self.until = max(self.until, ended)
        self.first, self.last = min(self.first, began), max(self.last, ended)
        self.busy += ended - began
        self.nbytes += nbytes

    def cost(self) -> str:
        """In words: how fast, and how long."""
        seconds, rate = self.last - self.first, self.nbytes / max(self.spent, 1e-3)
        between = f", between {seconds:.1f} s of computing" if seconds > 1.5 * self.spent + 0.1 else ""
        return f"at {rate / 1e6:,.0f} MB/s, {self.spent:.1f} s in all{between}"

    def outlook(self, total: int) -> str:
        """How far it is, of `total` bytes, and how long the rest will take."""
        rate = self.nbytes / max(self.last - self.first, 1e-3)
        left = max(0, total - self.nbytes)
        return f"{self.nbytes / 1e6:,.0f} of {total / 1e6:,.0f} MB, {rate / 1e6:,.0f} MB/s, {left / max(rate, 1):.0f} s to go"


def helpers(device: torch.device) -> int:
    """How many threads bring weights: as many as convert side by side on a CPU, one where they only travel. With one on a CPU the thread
    that computes would always wait for the weight that is being made, and nothing would happen side by side."""
    return max(2, min(_MOST_HELPERS, torch.get_num_threads())) if device.type == "cpu" else 1


def apart(weight: Tensor, room: Tensor | None) -> Tensor:
    """`weight`, in memory of its own if it lies in `room`."""
    if room is None or weight.is_mkldnn or weight.untyped_storage().data_ptr() != room.untyped_storage().data_ptr():
        return weight
    return weight.clone()


def _use_one_core() -> None:
    """Have what this thread computes use one core: side by side, teams for small pieces wait for each other more than they work."""
    torch.get_num_threads()  # torch sets a thread up at its first question, and would undo the next line
    if sys.platform == "linux":
        choose = getattr(ctypes.CDLL(None), "omp_set_num_threads", None)
        if choose is not None:
            choose(1)


_FAR = 512 << 20  # bytes that the system is asked to read before they are converted: disks need many questions at once to be fast
_MOST_HELPERS = 4
