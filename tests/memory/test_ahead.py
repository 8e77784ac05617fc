"""Helpers bring what comes next; nobody waits for them, and they go when they are told."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import torch
from torch import Tensor, nn

from backend.memory.ahead import Ahead, Intake
from backend.memory.pool import Loadable, Pool
from backend.memory.stream import Flight
from backend.nn.layers import Linear
from backend.weights.file import Views
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from backend.weights.slot import Resident

NAMES = ["encoder.a", "encoder.b", "encoder.c", "decoder.a", "decoder.b"]


class Record:
    """What was settled and prefetched, in order."""

    def __init__(self, fails: str = "") -> None:
        self.settled: list[str] = []
        self.read: list[str] = []
        self.done = threading.Condition()
        self.fails = fails

    def settle(self, name: str) -> None:
        if name == self.fails:
            raise OSError("gone")
        with self.done:
            self.settled.append(name)
            self.done.notify_all()

    def prefetch(self, name: str) -> int:
        self.read.append(name)
        return 1

    def wait(self, count: int) -> None:
        with self.done:
            assert self.done.wait_for(lambda: len(self.settled) >= count, 10)


def test_the_rest_of_the_part_is_brought_and_not_the_other() -> None:
    record = Record()
    ahead = Ahead(NAMES, record.settle, record.prefetch, 1)
    ahead.asked("encoder.a")
    record.wait(2)
    ahead.rest()
    assert record.settled == ["encoder.b", "encoder.c"]
    assert set(record.read) <= {"encoder.b", "encoder.c"}
    ahead.asked("decoder.a")
    record.wait(3)
    ahead.rest()
    assert record.settled[2:] == ["decoder.b"]


def test_a_helper_that_fails_leaves_it_to_who_needs_the_weight() -> None:
    record = Record(fails="encoder.b")
    ahead = Ahead(NAMES, record.settle, record.prefetch, 2)
    ahead.asked("encoder.a")
    ahead.rest()
    assert "encoder.b" not in record.settled


def test_after_close_nothing_is_brought() -> None:
    record = Record()
    ahead = Ahead(NAMES, record.settle, record.prefetch, 1)
    ahead.close()
    ahead.asked("encoder.a")
    ahead.rest()
    assert not record.settled


def test_room_is_the_same_for_weights_of_a_thread() -> None:
    ahead = Ahead(NAMES, lambda name: None, lambda name: 0, 1)
    room = ahead.room(10, torch.float32)
    assert ahead.room(4, torch.float32) is room
    assert ahead.room(20, torch.float32).numel() == 20


def test_reading_is_told_in_numbers() -> None:
    intake = Intake(100.0, 100.0)
    intake.add(100.0, 102.0, 300_000_000)
    assert intake.cost() == "at 150 MB/s, 2.0 s in all"
    assert intake.outlook(600_000_000) == "300 of 600 MB, 150 MB/s, 2 s to go"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList([Linear(300, 300) for _ in range(6)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.body:
            x = layer(x)
        return x


def of_file(folder: Path, dtype: torch.dtype) -> Loadable:
    torch.manual_seed(0)
    path = folder / "net.safetensors"
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in Net().named_parameters()}
    save_safetensors(path, {name: (torch.randn(shape) * 0.05).half() for name, shape in shapes.items()})
    return Loadable(str(path), Net, Views(open_weights(path)), dtype=dtype)


def slots(net: nn.Module) -> list[Resident]:
    found = [slot for layer in net.modules() if isinstance(layer, Linear) for slot in layer.slots.values()]
    assert all(isinstance(slot, Resident) for slot in found)
    return [slot for slot in found if isinstance(slot, Resident)]


def test_brought_by_helpers_or_not_the_bits_are_the_same(tmp_path: Path) -> None:
    what = of_file(tmp_path, torch.bfloat16)
    x = torch.randn(4, 300).bfloat16()
    pool = Pool()
    with torch.inference_mode(), pool.lease(what) as net:
        found = net(x).clone()
    reference = Net()
    reference.load_state_dict({name: what.source[name].to(torch.bfloat16) for name in what.source}, assign=True)
    with torch.inference_mode():
        assert torch.equal(found, reference(x)) or torch.allclose(found, reference(x), atol=1e-2)
        alone = Pool()
        with alone.lease(what) as net:
            for slot in reversed(slots(net)):  # backwards: nothing is ever ahead
                slot.settle()
            assert torch.equal(found, net(x))
    ((name, intake),) = pool.brought()
    assert name == "net.safetensors"
    assert intake.nbytes == sum(p.numel() for p in Net().parameters()) * 2
    assert not pool.brought()


def test_speed_is_that_of_reading_and_not_of_computing() -> None:
    intake = Intake(100.0, 101.0)
    for began, ended in ((100.0, 101.0), (100.5, 101.5), (109.5, 110.0)):  # two at a time, and one after eight seconds of computing
        intake.add(began, ended, 100_000_000)
    assert intake.cost() == "at 150 MB/s, 2.0 s in all, between 10.0 s of computing"
    once = Intake(5.0, 6.0)
    once.add(5.0, 6.0, 100_000_000)
    assert once.cost() == "at 100 MB/s, 1.0 s in all"


def test_a_dropped_net_goes_at_once_even_if_half_of_it_never_came(tmp_path: Path) -> None:
    what, pool = of_file(tmp_path, torch.float32), Pool()
    gc.disable()
    try:
        with pool.lease(what) as net:
            slots(net)[-1].settle()
            gone = weakref.ref(net)
        pool._drop(what.key, "it is not needed")
        del net
        assert gone() is None
    finally:
        gc.enable()


def test_weights_for_training_are_no_inference_tensors(tmp_path: Path) -> None:
    with Pool().lease(of_file(tmp_path, torch.float32)) as net:
        weights = [slot.settle() for slot in slots(net)]
    assert not any(weight.is_inference() for weight in weights)


def test_no_more_weights_are_under_way_than_there_is_room_for() -> None:
    """A host launches layers far faster than a device computes them."""
    come: list[int] = []

    class Event:
        def __init__(self, number: int) -> None:
            self.number = number

        def synchronize(self) -> None:
            come.append(self.number)

    flight = Flight()
    for number, nbytes in enumerate((4, 4, 2, 9)):
        flight.add(Event(number), nbytes)
        flight.land(10)
    assert come == [0, 1, 2], "the oldest first, and only as many as it takes"
    flight.land(0)
    flight.land(0)
    assert come == [0, 1, 2, 3]
