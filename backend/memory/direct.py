"""Read weights around the system's page cache, ahead of their use.

Through the page cache 5 GB cost seconds of a core for new pages, and push as much of other files out of it. Here two threads read large
pieces into one piece of memory that is used again and again: what was asked for and lies side by side is read at once, whoever needs a
weight takes it as a view on that memory, and when the last view has gone its room is read into again. What is in memory already is left to
the mapping.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading
import weakref
from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Sequence
from queue import Empty, SimpleQueue

import torch

from backend.memory.threads import begun
from backend.memory.ways import Asking, open_around
from backend.weights.file import bad
from backend.weights.mapped import MappedFile, Place, identity

Span = tuple[int, int]  # begin and end


class Room:
    """Memory of whole pages. Parts are cut out of it, and come back by themselves when nothing refers to them any more."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._memory = mmap.mmap(-1, nbytes)
        if hasattr(mmap, "MADV_HUGEPAGE"):  # 2 MB at a time come for a fraction of the cost
            with contextlib.suppress(OSError):  # a system without them
                self._memory.madvise(mmap.MADV_HUGEPAGE)
        self._free: list[Span] = [(0, nbytes)]
        self.returned: SimpleQueue[Span | None] = SimpleQueue()  # the one queue that may be put into while garbage is collected

    def cut(self, nbytes: int) -> memoryview | None:
        """A part of at least so many bytes in whole pages, or None while there is none. For one thread at a time."""
        while True:
            try:
                self.join(self.returned.get_nowait())
            except Empty:
                break
        nbytes = -(-nbytes // _PAGE) * _PAGE
        for i, (begin, end) in enumerate(self._free):
            if end - begin >= nbytes:
                self._free[i : i + 1] = [(begin + nbytes, end)] if end - begin > nbytes else []
                part = memoryview(self._memory)[begin : begin + nbytes]
                weakref.finalize(part, self.returned.put, (begin, begin + nbytes)).atexit = False
                return part
        return None

    def join(self, span: Span | None) -> None:
        """A part out of `returned` may be cut again. For one thread at a time."""
        if span is None:
            return
        begin, end = span
        i = bisect_left(self._free, span)
        if i < len(self._free) and self._free[i][0] == end:
            end = self._free.pop(i)[1]
        if i and self._free[i - 1][1] == begin:
            i, begin = i - 1, self._free.pop(i - 1)[0]
        self._free.insert(i, (begin, end))


class Door:
    """A file as it is read around the page cache. Raises OSError where that cannot be, or where under its name there is another file than
    the one that was opened."""

    def __init__(self, file: MappedFile) -> None:
        self.descriptor = open_around(file.path)
        self._asking: Asking | None = None
        try:
            if identity(self.descriptor) != file.identity:
                raise OSError(f"{file.path.name} has been replaced")
            self._asking = Asking(file.path, file.map)
        except BaseException:
            self.close()
            raise

    def is_cold(self, place: Place) -> bool:
        """Whether most of a place is not in memory."""
        try:
            return self._asking is not None and self._asking.in_memory(place.start, place.nbytes) < 0.5
        except (OSError, AttributeError):
            return False

    def close(self) -> None:
        os.close(self.descriptor)
        if self._asking is not None:
            self._asking.close()


class Doors:
    """Files that are open to be read around the page cache."""

    def __init__(self) -> None:
        self._open: dict[MappedFile, Door | None] = {}
        self._lock = threading.Lock()

    def of(self, file: MappedFile) -> Door | None:
        """That of a file; None where there is none."""
        with self._lock:
            if file not in self._open:
                self._open[file] = None
                if file.around:
                    with contextlib.suppress(OSError, ValueError, AttributeError):
                        self._open[file] = Door(file)
            return self._open[file]

    def is_cold(self, place: Place) -> bool:
        """Whether most of a place is not in memory, and can be read around it."""
        door = self.of(place.file) if place.nbytes else None
        return door is not None and door.is_cold(place)

    def shut(self, file: MappedFile) -> None:
        """Read this file no more."""
        with self._lock:
            door, self._open[file] = self._open.get(file), None
        if door is not None:
            door.close()

    def close(self) -> None:
        """Let go of all files. Nobody reads any more."""
        for file in list(self._open):
            self.shut(file)
        self._open.clear()


class Direct:
    """Reads places of files ahead of their use, in at most `room` bytes of memory. From the first `ask` or `take` to `rest`."""

    def __init__(self, room: int) -> None:
        self._nbytes = -(-room // _PAGE) * _PAGE
        self._changed = threading.Condition()
        self._doors = Doors()
        self._room: Room | None = None
        self._threads: list[threading.Thread] = []
        self._at_work = 0
        """Readers that do not wait for room."""
        self._resting = False
        self._uses: dict[Place, int] = {}
        """How often a place that was asked for is still to be used."""
        self._wanted: dict[Place, None] = {}
        self._in_order: dict[MappedFile, list[Place]] = {}
        """Of each file what is wanted, by where it lies."""
        self._coming: set[Place] = set()
        self._failed: dict[Place, Exception] = {}

    @classmethod
    def of(cls, places: Collection[Place]) -> Direct:
        """One for these places. Its room is for several of the largest."""
        return cls(min(_MOST, max(_ROOM, 3 * max(place.nbytes for place in places))))

    def ask(self, places: Iterable[Place]) -> None:
        """These places will be used, in about this order, once for each time that they are asked for."""
        for place in places:
            with self._changed:
                known = place in self._uses
                if known:
                    self._uses[place] += 1
            if known:
                continue
            if place.nbytes > self._nbytes // 2 or not self._doors.is_cold(place):
                place.file.prefetch(place.start, place.nbytes)
                continue
            with self._changed:
                self._uses[place] = self._uses.get(place, 0) + 1
                self._wanted[place] = None
                insort(self._in_order.setdefault(place.file, []), place, key=_start)
                self._begin()
                self._changed.notify_all()

    def take(self, places: Iterable[Place]) -> None:
        """Return when these places are at hand: their files lend what was read around the page cache until `done` is called as often.
        Raises BadFile for a file that has become shorter, OSError for one that cannot be read."""
        for place in places:
            with self._changed:
                while place in self._coming or (place in self._wanted and self._at_work):
                    self._changed.wait()
                failed = self._failed.pop(place, None)
                if failed is not None:
                    self._uses.pop(place, None)
                    raise failed
                if place in self._wanted:  # all room is taken by others that come later
                    self._unwant(place)
                elif place in self._uses or place.nbytes > self._nbytes // 2:
                    continue
                self._uses.setdefault(place, 1)
                self._coming.add(place)
            self._fill([place], None)
            with self._changed:
                failed = self._failed.pop(place, None)
                if failed is not None:
                    self._uses.pop(place, None)
                    raise failed

    def done(self, places: Iterable[Place]) -> None:
        """These places have been used."""
        with self._changed:
            for place in places:
                left = self._uses.get(place, 0) - 1
                if left > 0:
                    self._uses[place] = left
                elif self._uses.pop(place, None) is not None:
                    place.file.lent.pop(place.start, None)

    def rest(self) -> None:
        """Read nothing more and hold nothing; returns when what is being read is there. Nobody may be in `take`."""
        with self._changed:
            self._resting = True
            threads, self._threads = self._threads, []
            for _ in threads:
                if self._room is not None:
                    self._room.returned.put(None)
            self._changed.notify_all()
        for thread in threads:
            thread.join()
        for place in self._uses:
            place.file.lent.pop(place.start, None)
        for known in (self._uses, self._wanted, self._in_order, self._coming, self._failed):
            known.clear()
        self._doors.close()
        self._room, self._at_work, self._resting = None, 0, False

    def _begin(self) -> None:
        if self._threads:
            return
        self._room = Room(self._nbytes)
        threads = [threading.Thread(target=self._work, args=(self._room,), name="read-direct") for _ in range(_READERS)]
        self._at_work = len(threads)
        self._threads = [thread for thread in threads if begun(thread)]
        self._at_work = len(self._threads)

    def _work(self, room: Room) -> None:
        while True:
            with self._changed:
                while not self._wanted and not self._resting:
                    self._changed.wait()
                if self._resting:
                    return
                group = self._group()
                part = room.cut(_length(group))
                if part is not None:
                    for place in group:
                        self._unwant(place)
                    self._coming.update(group)
                else:
                    self._at_work -= 1
                    self._changed.notify_all()
            if part is not None:
                self._fill(group, part)
                del part
                continue
            returned = room.returned.get()
            with self._changed:
                room.join(returned)
                self._at_work += 1

    def _unwant(self, place: Place) -> None:
        del self._wanted[place]
        order = self._in_order[place.file]
        at = bisect_left(order, place.start, key=_start)
        del order[at + order[at:].index(place)]

    def _group(self) -> list[Place]:
        """What was asked for first, and its neighbours in the file as far as they are asked for too."""
        first = next(iter(self._wanted))
        order = self._in_order[first.file]
        low = order.index(first, bisect_left(order, first.start, key=_start))
        high, most = low + 1, max(_PIECE, first.nbytes + first.nbytes // 8)
        while high < len(order) and _adjacent(order[high - 1], order[high]) and _length(order[low : high + 1]) <= most:
            high += 1
        while low and _adjacent(order[low - 1], order[low]) and _length(order[low - 1 : high]) <= most:
            low -= 1
        return order[low:high]

    def _fill(self, group: Sequence[Place], part: memoryview | None) -> None:
        """Read neighbours, and have their file lend them. Without a `part` of the room memory of their own is taken."""
        file, (begin, end) = group[0].file, _span(group)
        refused = False
        failed: Exception | None = None
        try:
            door = self._doors.of(file)
            if door is not None and (part is not None or self._doors.is_cold(group[0])):
                part = memoryview(mmap.mmap(-1, end - begin)) if part is None else part
                _read(door.descriptor, file, begin, max(place.start + place.nbytes for place in group), part)
                raw = torch.frombuffer(part, dtype=torch.uint8)
                for place in group:
                    file.lent[place.start] = raw[place.start - begin :][: place.nbytes]
        except OSError as error:
            refused = error.errno in (errno.EINVAL, errno.EOPNOTSUPP)  # it wants other steps than pages
            failed = None if refused else error
        except Exception as error:  # noqa: BLE001  told to whoever needs the weight
            failed = error
        if refused:
            self._doors.shut(file)
        with self._changed:
            self._coming.difference_update(group)
            if failed is not None:
                self._failed.update(dict.fromkeys(group, failed))
            self._changed.notify_all()


def _read(descriptor: int, file: MappedFile, begin: int, needed: int, part: memoryview) -> None:
    """Fill `part` from `begin` of a file to at least `needed`. Raises BadFile, OSError."""
    at = begin
    while at < needed:
        got = os.preadv(descriptor, [part[at - begin :]], at)
        at += got
        if at < needed and (not got or got % _PAGE):
            raise bad(file.path, "it has become shorter while it was read")


def _start(place: Place) -> int:
    return place.start


def _span(group: Sequence[Place]) -> Span:
    """The whole pages that hold places which follow each other."""
    return group[0].start // _PAGE * _PAGE, -(-max(place.start + place.nbytes for place in group) // _PAGE) * _PAGE


def _length(group: Sequence[Place]) -> int:
    begin, end = _span(group)
    return end - begin


def _adjacent(one: Place, other: Place) -> bool:
    return other.start - (one.start + one.nbytes) <= _PAGE


_PAGE = max(4096, mmap.PAGESIZE)
_PIECE = 8 << 20  # bytes read at once where that much lies side by side
_READERS = 2
_ROOM, _MOST = 96 << 20, 1 << 30  # bytes; of what is larger than half of the most each is left to the mapping
