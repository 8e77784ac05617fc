"""Carry out placements. The pool alone decides what is on the device; everyone else holds a lease on a net.

Nets are built on the meta device and get their weights through slots, so making resident, streaming and patching are the same act:
hanging another slot under a parameter name. Original weights are never written to.
"""

from __future__ import annotations

import functools
import gc
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from backend.memory.ahead import Ahead, Intake, apart, helpers
from backend.memory.device import memory_available
from backend.memory.direct import Direct
from backend.memory.heap import trim
from backend.memory.later import Later
from backend.memory.measured import Measured, watermark
from backend.memory.multiplied import eights, thin
from backend.memory.plan import WINDOW, Demand, Held, fastest, next_to_read, place
from backend.memory.stream import Stream, Traffic
from backend.memory.threads import begun
from backend.memory.ways import keeps
from backend.nn import eight
from backend.nn.layers import Layer
from backend.weights.file import Views
from backend.weights.patch import Patch, by_key, fingerprint
from backend.weights.quant.packed import Packed, unpacks
from backend.weights.slot import Compact, Delta, Resident, Streamed, materialise


@dataclass(frozen=True)
class Loadable:
    """A net that can be brought to the device: what it is made of, before anything is read."""

    key: str
    """Identity of file and part, without patches."""
    build: Callable[[], nn.Module]
    """Makes the net; called under the meta device."""
    source: Mapping[str, Tensor]
    """Parameter name -> view on the file."""
    deltas: Mapping[str, tuple[Delta, ...]] = field(default_factory=dict)
    """Patches by parameter name, applied in order."""
    fingerprint: str = ""
    """Identity of the patches; "" when there are none."""
    dtype: torch.dtype = torch.float32
    """What the net computes in and its weights are kept in."""

    def patched(self, patches: Sequence[Patch]) -> Loadable:
        """The same with these patches after those it has."""
        if not patches:
            return self
        deltas = dict(self.deltas)
        for key, added in by_key(patches).items():
            deltas[key] = (*deltas.get(key, ()), *added)
        return replace(self, deltas=deltas, fingerprint=self.fingerprint + fingerprint(patches))


@dataclass(frozen=True, slots=True)
class Move:
    """Something the pool did, in words: when (seconds since the epoch), with which net, what and why, how many bytes, how many seconds."""

    at: float
    key: str
    what: str
    why: str
    nbytes: int = 0
    seconds: float = 0.0

    def sentence(self) -> str:
        """For logs."""
        size = f"{self.nbytes / 1e6:,.0f} MB, " if self.nbytes else ""
        return f"{title(self.key)}: {self.what}, {size}{self.why}."


def title(key: str) -> str:
    """The file and part that a key names."""
    file = file_of(key)
    part = key[len(file) :].partition("#")[2]
    name = file.replace("\\", "/").rpartition("/")[2]
    return f"{name} ({part})" if part else name


def file_of(key: str) -> str:
    """The file that a key names; the first of several."""
    return key[: found.start()] if (found := _MARK.search(key)) else key


_MARK = re.compile(r"@\d+-\d+(?!\d)")  # size and time of change, as weight files write them


@dataclass(eq=False)
class _Live:
    """A net with slots hung for one loadable."""

    net: nn.Module
    loadable: Loadable
    places: dict[str, tuple[Layer, str]]
    """Full parameter name -> (layer, its own name for it)."""
    counts: dict[str, int]
    """Full parameter name -> number of values."""
    last_used: int = 0
    leases: int = 0
    why: str = ""
    used_at: float = 0.0
    total: int = 0
    """Bytes of all its weights, kept or not."""
    read_seconds: float = 0.0
    """What it took to bring those that are kept."""
    stream: Stream | None = None
    """Brings the weights that do not stay."""
    ahead: Ahead | None = None
    """Brings those that stay."""
    eights: dict[str, Packed] = field(default_factory=dict)
    """Weights whose products are computed in the eight bits of their file."""
    thin: dict[str, tuple[eight.Thin, ...]] = field(default_factory=dict)
    """What the patches `thin_of` add beside those; the others are patched as numbers."""
    thin_of: str | None = None

    def nbytes(self) -> int:
        return sum(slot.nbytes for slot in self.residents())

    def residents(self) -> Iterator[Resident | Compact]:
        """The slots of the weights that are kept, in order of construction."""
        for layer, name in self.places.values():
            slot = layer.slots.get(name)
            if isinstance(slot, (Resident, Compact)):
                yield slot


class Pool:
    """Keeps nets on one device within `budget` bytes (None: no limit), and within what `spare()` says others have left of its memory.

    `upcoming()` names the nets that the rest of the graph will use, the next first, as far as it is known: it decides who goes and what is
    read ahead. `on_move` hears of each move.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        budget: int | None = None,
        spare: Callable[[], int | None] = lambda: None,
        keeps: bool = True,
    ) -> None:
        self.device = torch.device(device)
        self.budget, self.spare, self.keeps = budget, spare, keeps
        self._live: dict[str, _Live] = {}
        self._clock = 0
        self._lock, self._counting = threading.RLock(), threading.Lock()
        self._tier = 0
        self._reading = ""
        self._brought: dict[str, Intake] = {}
        self._told = 0.0
        self.others: dict[str, Pool] = {}
        """Pools on other devices by the part of a model that is computed there; see `of`."""
        self.upcoming: Callable[[], Iterable[Loadable]] = tuple
        self.later = Later(tuple, memory_available)
        """The files that the next job names."""
        self.on_move: Callable[[Move], None] = lambda move: None
        self.on_reading: Callable[[str], None] = lambda sentence: None
        """Hears how far reading is, every few seconds while it goes on."""
        self.check: Callable[[], None] = lambda: None
        """Asked before each weight that is brought, on whichever thread, and on CPUs before each block of a net; raises what is to end the
        run. A large model takes long."""
        self.served = 0
        """Leases given so far."""
        self._taken = 0  # weights brought so far
        self.measured, self.measures = Measured(), False
        """What activations took in earlier runs, and whether to go on measuring."""
        self.watch: Callable[[Loadable, nn.Module], AbstractContextManager[None]] | None = None
        """Put around the use of every lease while somebody looks for a fault."""
        self.moves: deque[Move] = deque(maxlen=_REMEMBERED)

    def of(self, part: str) -> Pool:
        """The pool in which this part of models ("vae") is computed: this one, unless the composition root has chosen another."""
        return self.others.get(part, self)

    @contextmanager
    def lease(self, loadable: Loadable, working: int = 0) -> Iterator[nn.Module]:
        """The net of `loadable`, ready to run on the pool's device for the length of the `with`.

        `working` is an estimate of the bytes its activations need, corrected by what earlier runs took. A net that is leased already
        with other patches gets a second set of slots for the time of this lease, sharing the weights whose patches are equal.
        """
        about = _about(loadable)
        with self._lock:
            alone = not any(live.leases for live in self._live.values())
            live, key = self._claim(loadable)
            try:
                self._settle(live, key, loadable, self.measured.expect(about, working))
            except BaseException:
                self._forget(key)
                raise
            live.leases += 1
        self.served += 1
        above, before = watermark(self.device) if working and alone and self.measures else None, self._taken
        try:
            with self.watch(loadable, live.net) if self.watch is not None else nullcontext():
                yield live.net
            if above is not None:
                taken = above() - (WINDOW * live.stream.window if live.stream is not None else 0)
                if self.device.type != "cpu":
                    self.measured.learn(about, working, taken)
                elif live.stream is None and before == self._taken:  # weights on their way are seen there too, and what the process freed
                    self.measured.learn(about, working, max(taken, working))  # and kept is not: a lower bound
        finally:
            with self._lock:
                live.leases -= 1
                live.used_at = time.time()
                if not live.leases:
                    self._rest(live, key)
                    self._read_later()
                    if key != loadable.key:
                        self._forget(key)
                    elif self._unwanted(key):
                        self._drop(key, "models are not kept after their use")

    def fitting(self, loadable: Loadable, needs: Sequence[int]) -> int:
        """Which of several ways to use a net a lease can be given for, the fastest first, by the bytes of activations each needs."""
        if len(needs) == 1:
            return 0
        with self._lock:
            live, key = self._claim(loadable)
            room = (self.limit() if self.budget != 0 else self._left()) - self._busy(key)  # a budget of nothing is for weights alone
            forms = (self._sizes(live, loadable, dense)[0] for dense in (True, False))
            return fastest([self.measured.expect(_about(loadable), need) for need in needs], forms, room)

    def _rest(self, live: _Live, key: str) -> None:
        """Nobody uses this net at present: nothing is brought ahead any more, and what was brought is told."""
        if live.ahead is not None:
            live.ahead.rest()
        if live.stream is None:
            return
        live.stream.rest()
        traffic, live.stream.traffic = live.stream.traffic, Traffic()
        if traffic.nbytes:
            why = f"{traffic.hidden:.0%} of the {traffic.busy:.1f} s this took was hidden behind computing"
            self._note(Move(time.time(), key, "streamed", why, traffic.nbytes, traffic.waited))

    def _read_later(self) -> None:
        """Have the system read what the next job needs, unless something of this one's is still to be read."""
        if self.later and all(one.key in self._live or one.key == self._reading for one in self.upcoming()):
            found = self.later.read({file_of(key) for key in self._live})
            if found is not None:
                self._note(Move(time.time(), str(found[0]), "read ahead", "the next job uses it", found[1]))

    def _unwanted(self, key: str) -> bool:
        """Whether a net that nobody uses any more should go at once."""
        return not self.keeps and all(one.key != key for one in self.upcoming())

    def room(self) -> int:
        """Bytes that could be used beside what is leased now."""
        with self._lock:
            used = sum(live.nbytes() for live in self._live.values() if live.leases)
        return self.limit() - used

    def free(self, why: str = "memory was to be freed") -> None:
        """Drop every net that is not leased, and give the memory back to the system."""
        for other in self.others.values():
            other.free(why)
        with self._lock:
            for key in [key for key, live in self._live.items() if not live.leases]:
                self._drop(key, why)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        trim()

    def tighten(self) -> int:
        """Memory ran out: make room, and until `relax` keep nets only in a fraction of what they filled when it did (with none, of what
        they may fill), streaming the rest. Returns that number of bytes."""
        with self._lock:
            filled = sum(live.nbytes() for live in self._live.values())
            self._tier = max(1, min(filled or self.limit(), self.limit()) // _TIGHTER)
            limit = self._tier
        self.free("memory ran out")
        return limit

    def relax(self) -> None:
        """Plan with the whole budget again."""
        self._tier = 0

    def brought(self) -> list[tuple[str, Intake]]:
        """The nets whose weights were read since this was last asked, by title."""
        found, self._brought = self._brought, {}
        for key, intake in found.items():
            if (live := self._live.get(key)) is not None:
                live.read_seconds += intake.spent
            self._note(Move(intake.last, key, "read and made ready", intake.cost(), intake.nbytes))
        return [(title(key), intake) for key, intake in found.items()]

    def lowered(self, key: str, how: str, why: str = "as memory ran out") -> None:
        """Tell that a net is used in a way that needs less memory."""
        self._note(Move(time.time(), key, how, why))

    def limit(self) -> int:
        """Bytes that nets and activations may fill now."""
        return self._left() if self.budget is None else min(self.budget, self._left())

    def _left(self) -> int:
        """The same but for the budget: what others leave of the device."""
        limits = [1 << 62]
        spare = self.spare()
        if spare is not None:
            here = sum(slot.nbytes for live in self._live.values() for slot in live.residents() if slot.is_here)
            limits.append(here + max(0, spare - _CUSHION))
        if self._tier:
            limits.append(self._tier)
        return min(limits)

    def _drop(self, key: str, why: str) -> None:
        self._note(Move(time.time(), key, "dropped", why, self._live[key].nbytes()))
        self._forget(key)

    def _forget(self, key: str) -> None:
        live = self._live.pop(key, None)
        if live is not None and live.ahead is not None:
            live.ahead.close()

    def _note(self, move: Move) -> None:
        self.moves.append(move)
        self.on_move(move)

    def table(self) -> list[dict[str, Any]]:
        """What is held now, most recently used first; on other devices after that."""
        elsewhere = [row for other in self.others.values() for row in other.table()]
        with self._lock:
            rows = sorted(self._live.items(), key=lambda item: -item[1].last_used)
            here = [
                {
                    "key": key,
                    "title": title(key),
                    "dtype": str(live.loadable.dtype).removeprefix("torch."),
                    "resident_bytes": live.nbytes(),
                    "total_bytes": max(live.total, live.nbytes()),
                    "read_seconds": live.read_seconds,
                    "last_used": live.used_at,
                    "streamed": sum(isinstance(layer.slots.get(name), Streamed) for layer, name in live.places.values()),
                    "patches": live.loadable.fingerprint,
                    "leased": bool(live.leases),
                    "why": live.why,
                }
                for key, live in rows
            ]
        return here + elsewhere

    def _claim(self, loadable: Loadable) -> tuple[_Live, str]:
        """The record to use for this lease and the name it is kept under."""
        live = self._live.get(loadable.key)
        if live is None:
            return self._add(loadable.key, loadable), loadable.key
        if not live.leases or _same(live.loadable, loadable):
            return live, loadable.key
        key = f"{loadable.key}#{loadable.fingerprint}#{loadable.dtype}"
        second = self._live.get(key)
        if second is None:
            second = self._add(key, loadable)
            if live.loadable.dtype == loadable.dtype:
                _share(live, second, loadable)
        return second, key

    def _add(self, key: str, loadable: Loadable) -> _Live:
        with torch.device("meta"):
            net = loadable.build()
        net.eval().requires_grad_(False)
        if self.device.type == "cpu":  # where one step of a large net takes longer than who cancels it wants to wait
            for block in (child for module in net.modules() if isinstance(module, nn.ModuleList) for child in module):
                block.register_forward_pre_hook(self._ask)
        live = _Live(net, loadable, _places(net), {name: parameter.numel() for name, parameter in net.named_parameters()})
        missing = [name for name in live.places if name not in loadable.source]
        if missing:
            raise KeyError(f"{loadable.key}: no weights for {len(missing)} parameters, e.g. {missing[0]}")
        live.ahead = Ahead(list(live.places), functools.partial(_bring_one, live), functools.partial(_read_one, live), helpers(self.device))
        live.eights = eights(live.places, loadable.source, self.device, loadable.dtype)
        self._live[key] = live
        return live

    def _ask(self, module: nn.Module, given: Any) -> None:
        """A block is about to compute."""
        if not torch.compiler.is_compiling():
            self.check()

    def _settle(self, live: _Live, key: str, loadable: Loadable, working: int) -> None:
        """Hang the right slot under every parameter name, evicting others where the budget asks for it."""
        self._clock += 1
        live.last_used = self._clock
        names = list(live.places)
        budget = self.limit()
        sizes, compact = self._sizes(live, loadable, dense=True)
        if sum(sizes) + working + self._busy(key) > budget:  # numbers are faster to compute with, so only where it must be
            sizes, compact = self._sizes(live, loadable, dense=False)
        total = live.total = sum(sizes)
        uses = [one for one in self.upcoming() if one.key != loadable.key]
        order = {key: i for i, key in enumerate(dict.fromkeys(one.key for one in uses))}
        later = self.later.next_uses(len(order))
        for k in self._live:
            if k not in order and (use := later.get(file_of(k))) is not None:
                order[k] = use
        held = [Held(k, v.nbytes(), v.last_used, bool(v.leases), order.get(v.loadable.key)) for k, v in self._live.items()]
        placement = place(Demand(key, tuple(sizes), working), held, budget)
        for victim in placement.evict:
            when = "nothing that is known to come uses it" if order.get(victim) is None else "it is used later than others"
            needs = f"which needs {(total + working) / 1e6:,.0f} MB of the {budget / 1e6:,.0f} that may be filled"
            self._drop(victim, f"to make room for {title(key)}, {needs}; {when}")
        if placement.evict and self.device.type == "cuda":
            torch.cuda.empty_cache()
        self._explain(live, key, sizes, placement.resident, working, budget)
        self._read_ahead(uses, [Held(k, v.nbytes(), 0) for k, v in self._live.items() if k != key] + [Held(key, total, 0)], working)
        before, live.loadable = live.loadable, loadable
        if all(placement.resident):
            live.stream = None
        else:
            live.stream = live.stream or Stream(self.device, check=self.check)
            live.stream.window = max(sizes)
        stale = [
            (name, stay)
            for name, stay in zip(names, placement.resident, strict=True)
            if not self._fits(live, before, loadable, name, _kind(stay, name in compact))
        ]
        bench = _Bench(loadable, [name for name, stay in stale if stay], self.device)
        values: dict[str, eight.Eight] = {}  # other adapters beside a weight leave it where it is
        for name, _ in stale:  # all first: neighbours join to holes that the new ones fit into
            layer, own = live.places[name]
            old = layer.slots.pop(own, None)
            there: object = old.settle() if name in live.thin and isinstance(old, Resident) and old.is_here else None
            if isinstance(there, eight.Eight) and there.dtype == loadable.dtype:
                values[name] = there
        for name, stay in stale:
            if name in live.thin:
                self._hang_eight(live, loadable, name, stay, values.pop(name, None))
            else:
                self._hang(live, loadable, name, stay, compact.get(name), bench)
        if stale:
            assert live.ahead is not None
            live.ahead.direct = self._direct(loadable)
        if stale and (before.deltas or loadable.deltas):
            trim()
        if not stale and self.later and all(slot.is_here for slot in live.residents()):
            self._read_later()

    def _sizes(self, live: _Live, loadable: Loadable, dense: bool) -> tuple[list[int], dict[str, Packed]]:
        """Bytes of each weight where it is kept, and those that are then kept in the few bits of their file; with `dense` as numbers."""
        if live.eights and live.thin_of != loadable.fingerprint:
            live.thin, live.thin_of = thin(live.eights, loadable.deltas), loadable.fingerprint
        compact = {} if dense else _packed(loadable, [name for name in live.places if name not in live.thin])
        held = {**live.eights, **compact}
        few = live.thin.keys() | compact.keys()
        return [held[n].nbytes if n in few else live.counts[n] * loadable.dtype.itemsize for n in live.places], compact

    def _busy(self, key: str) -> int:
        """Bytes of the nets in use, but for the one under `key`."""
        return sum(live.nbytes() for k, live in self._live.items() if live.leases and k != key)

    def _direct(self, loadable: Loadable) -> Direct | None:
        """What reads the weights around the page cache, where their files are better read so and the page cache would not keep them beside
        what is planned to be here. Weights with patches are not read so: at another strength they are read again."""
        if not isinstance(source := loadable.source, Views):
            return None
        places = {place for name in source for place in source.file.places(name) if place.file.around}
        if not places:
            return None
        left = memory_available()
        if self.device.type == "cpu":
            left = self.limit() - sum(slot.nbytes for live in self._live.values() for slot in live.residents())
        return None if keeps(sum(place.nbytes for place in places), left) else Direct.of(places)

    def _explain(self, live: _Live, key: str, sizes: list[int], resident: tuple[bool, ...], working: int, budget: int) -> None:
        """Say where the net's weights are, when that has changed."""
        kept, total = sum(size for size, stay in zip(sizes, resident, strict=True) if stay), sum(sizes)
        if kept == total:
            what, why = "kept whole", "it fits"
        else:
            share = f"{kept / total:.0%} kept, the rest" if kept else "nothing kept, all of it"
            what = f"{share} read at each use"
            why = f"it needs {(total + working) / 1e6:,.0f} MB with its activations and may use {budget / 1e6:,.0f}"
        if f"{what}: {why}" != live.why:
            live.why = f"{what}: {why}"
            self._note(Move(time.time(), key, what, why, kept))

    def _read_ahead(self, uses: list[Loadable], held: list[Held], working: int) -> None:
        """Have the system read the file of the net that comes next while this one computes."""
        present = {h.key for h in held}
        comes = next((one for one in uses if one.key not in present), None)
        if comes is None or comes.key == self._reading or not isinstance(source := comes.source, Views):
            return
        nbytes = sum(math.prod(entry.shape) for entry in source.file.values()) * comes.dtype.itemsize
        if next_to_read([(comes.key, nbytes)], held, working, self.limit()) is None:
            return
        self._reading = comes.key
        if begun(threading.Thread(target=_prefetch, args=(source,), name="read-ahead")):
            self._note(Move(time.time(), comes.key, "read ahead", "it is used next", nbytes))

    def _fits(self, live: _Live, before: Loadable, now: Loadable, name: str, kind: type) -> bool:
        layer, own = live.places[name]
        slot = layer.slots.get(own)
        if not isinstance(slot, kind) or before.dtype != now.dtype:
            return False
        return before.fingerprint == now.fingerprint or before.deltas.get(name, ()) == now.deltas.get(name, ())

    def _hang(self, live: _Live, loadable: Loadable, name: str, stay: bool, packed: Packed | None, bench: _Bench) -> None:
        """Hang one slot. A weight without patches is read when it is first used, and those after it meanwhile; weights that are never used
        cost nothing. One with patches is made and packed at once, after the one it replaces has gone and so in its place: memory that is
        new to the process costs as much as the work."""
        layer, own = live.places[name]
        deltas, pack = loadable.deltas.get(name, ()), functools.partial(layer.pack, own)
        if not stay:
            layer.slots[own] = self._streamed(live, loadable, name, packed if unpacks(self.device) else None)
            return
        if packed is not None:
            layer.slots[own] = Compact(functools.partial(packed.to, self.device), packed.nbytes, loadable.dtype, pack)
            return
        if deltas:
            layer.slots[own] = Resident(bench.packed(self._bring(loadable, name, live.counts[name], bench.room), pack))
        else:
            assert live.ahead is not None
            make = functools.partial(self._bring_unpatched, live.ahead, loadable, name, live.counts[name], pack)
            layer.slots[own] = Resident.later(make, live.counts[name] * loadable.dtype.itemsize)

    def _streamed(
        self, live: _Live, loadable: Loadable, name: str, packed: Packed | None, form: Callable[[Packed], Tensor] | None = None
    ) -> Streamed:
        layer, own = live.places[name]
        deltas, pack = loadable.deltas.get(name, ()), functools.partial(layer.pack, own)
        done = loadable.source.file.release if isinstance(loadable.source, Views) else _keep
        assert live.stream is not None
        nbytes = packed.nbytes if packed is not None and form is not None else live.counts[name] * loadable.dtype.itemsize
        return Streamed(loadable.source, name, deltas, loadable.dtype, pack, done, live.stream.take, nbytes, packed, form)

    def _hang_eight(self, live: _Live, loadable: Loadable, name: str, stay: bool, held: eight.Eight | None) -> None:
        """As `_hang`, for a weight that stays in eight bits, with its patches beside it. `held` is what is on the device already."""
        layer, own = live.places[name]
        packed, form = live.eights[name], functools.partial(eight.eight, dtype=loadable.dtype, thin=live.thin[name])
        if not stay:
            layer.slots[own] = self._streamed(live, loadable, name, packed, form)
        elif held is not None:
            layer.slots[own] = Resident(held.beside(live.thin[name]))
        else:
            assert live.ahead is not None
            make = functools.partial(self._bring_eight, live.ahead, loadable, name, packed, form)
            layer.slots[own] = Resident.later(make, packed.nbytes)

    def _bring_eight(self, ahead: Ahead, loadable: Loadable, name: str, packed: Packed, form: Callable[[Packed], Tensor]) -> Tensor:
        ahead.asked(name)
        self.check()
        began = time.time()
        weight = form(packed.moved(lambda part: part.to(self.device, copy=True)))
        self._took(loadable, name, began, packed.nbytes)
        return weight

    def _bring_unpatched(self, ahead: Ahead, loadable: Loadable, name: str, count: int, pack: Callable[[Tensor], Tensor]) -> Tensor:
        """One weight of `count` values as its layer wants it, and those after it begun."""
        ahead.asked(name)
        room = ahead.room(count, loadable.dtype) if self.device.type == "cpu" and count > _SMALL else None
        weight = apart(pack(self._bring(loadable, name, count, room, ahead.direct)), room)
        intake, now = self._brought.get(loadable.key), time.time()
        if intake is not None and now - max(self._told, intake.first) > _TELL_S:
            self._told = now
            live = self._live.get(loadable.key)
            self.on_reading(f"Reading {title(loadable.key)}: {intake.outlook(live.nbytes() if live is not None else intake.nbytes)}")
        return weight

    def _bring(self, loadable: Loadable, name: str, count: int, room: Tensor | None, direct: Direct | None = None) -> Tensor:
        """One weight of `count` values on the device, patched (in `room`, if that is given), and its pages of the file given back."""
        self.check()
        began, source = time.time(), loadable.source
        places = source.file.places(name) if direct is not None and isinstance(source, Views) else ()
        if direct is not None:
            direct.take(places)
        view = source.on(name, self.device) if isinstance(source, Views) else source[name]
        weight = materialise(view, loadable.deltas.get(name, ()), self.device, loadable.dtype, room)
        if direct is not None:
            direct.done(places)
        self._took(loadable, name, began, count * loadable.dtype.itemsize)
        return weight

    def _took(self, loadable: Loadable, name: str, began: float, nbytes: int) -> None:
        """A weight has been brought: its pages of the file are not needed any more."""
        if isinstance(loadable.source, Views):
            loadable.source.file.release(name)
        with self._counting:
            self._taken += 1
            ended = time.time()
            self._brought.setdefault(loadable.key, Intake(began, ended)).add(began, ended, nbytes)


class _Bench:
    """Where patched weights are made before they are packed: one piece of memory for all, on the CPU."""

    def __init__(self, loadable: Loadable, names: list[str], device: torch.device) -> None:
        sizes = [math.prod(loadable.source[name].shape) for name in names if loadable.deltas.get(name)]
        self.room = torch.empty(max(sizes), dtype=loadable.dtype) if sizes and device.type == "cpu" else None

    def packed(self, weight: Tensor, pack: Callable[[Tensor], Tensor]) -> Tensor:
        """The packed weight, in memory of its own."""
        return apart(pack(weight), self.room)


def _about(loadable: Loadable) -> str:
    """What measured activations are filed under."""
    return f"{title(loadable.key)}|{loadable.dtype}"


def _kind(stays: bool, is_compact: bool) -> type:
    return (Compact if is_compact else Resident) if stays else Streamed


def _keep(key: str) -> None:
    """What has no file has no pages to give back."""


def _packed(loadable: Loadable, names: list[str]) -> dict[str, Packed]:
    """The weights that their file keeps in few bits, but for those with patches, which exist as numbers only."""
    if not isinstance(loadable.source, Views):
        return {}
    file = loadable.source.file
    found = {name: file.packed(name) for name in names if not loadable.deltas.get(name)}
    return {name: packed for name, packed in found.items() if packed is not None}


def _bring_one(live: _Live, name: str) -> None:
    layer, own = live.places[name]
    slot = layer.slots.get(own)
    if isinstance(slot, Resident):
        slot.settle()


def _read_one(live: _Live, name: str) -> int:
    """Have the system read a weight soon, if it is still to come; its bytes in the file."""
    layer, own = live.places[name]
    slot, source = layer.slots.get(own), live.loadable.source
    if not isinstance(slot, Resident) or slot.is_here or not isinstance(source, Views):
        return 0
    if live.ahead is not None and live.ahead.direct is not None and name not in live.thin:
        live.ahead.direct.ask(source.file.places(name))
    else:
        source.file.prefetch(name)
    return source.file[name].nbytes


def _prefetch(source: Views) -> None:
    for name in source:
        source.file.prefetch(name)


_CUSHION = 256 << 20  # bytes of what is free now that are left alone
_REMEMBERED = 200  # moves that /memory tells
_TIGHTER = 2  # after memory ran out, nets may fill one part in so many of what they filled
_SMALL = 1 << 16  # values up to which a weight is made where it stays
_TELL_S = 2.0


def _same(a: Loadable, b: Loadable) -> bool:
    return a.dtype == b.dtype and a.fingerprint == b.fingerprint


def _share(first: _Live, second: _Live, loadable: Loadable) -> None:
    """Let `second` use the resident weights of `first` whose patches are equal."""
    for name, (layer, own) in first.places.items():
        slot = layer.slots.get(own)
        if isinstance(slot, Resident) and first.loadable.deltas.get(name, ()) == loadable.deltas.get(name, ()):
            target, target_own = second.places[name]
            target.slots[target_own] = slot


def _places(net: nn.Module) -> dict[str, tuple[Layer, str]]:
    """Every parameter of the net with the layer that asks a slot for it. Raises TypeError for one that no layer would ask for."""
    places: dict[str, tuple[Layer, str]] = {}
    for path, module in net.named_modules():
        for own, _ in module.named_parameters(recurse=False):
            full = f"{path}.{own}" if path else own
            if not isinstance(module, Layer):
                raise TypeError(f"{full} belongs to a {type(module).__name__}, which does not read slots")
            places[full] = (module, own)
    return places
