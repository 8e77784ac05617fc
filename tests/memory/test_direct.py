"""Weights that are read around the page cache: the same bytes, bounded memory, and nothing left in the cache."""

from __future__ import annotations

import errno
import os
import random
import threading
from pathlib import Path

import pytest
import torch

from backend.base.errors import BadFile
from backend.memory import direct as module
from backend.memory.direct import Direct, Room
from backend.memory.pool import Loadable, Pool
from backend.memory.ways import Asking, keeps, open_around
from backend.nn.layers import Layer, Linear
from backend.weights.file import Views
from backend.weights.mapped import READING, MappedFile, Place
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from backend.weights.slot import Resident

PAGE = module._PAGE


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is read as if none of it were in memory and its file system could pass the page cache by."""
    monkeypatch.setattr(module.Asking, "in_memory", lambda asking, start, nbytes: 0.0)
    monkeypatch.setattr(module, "open_around", lambda path: os.open(path, os.O_RDONLY))


@pytest.fixture
def file(tmp_path: Path) -> MappedFile:
    path = tmp_path / "weights"
    path.write_bytes(random.Random(0).randbytes(64 * PAGE + 100))
    return opened(path)


def opened(path: Path) -> MappedFile:
    file = MappedFile(path)
    file.around = True
    return file


def places(file: MappedFile, step: int = PAGE + 10) -> list[Place]:
    """A file cut into pieces that begin and end within pages."""
    return [Place(file, at, min(step, file.size - at)) for at in range(7, file.size, step)]


def content(place: Place) -> bytes:
    return bytes(place.file.view(place.start, (place.nbytes,), torch.uint8).numpy())


def true(place: Place) -> bytes:
    return bytes(place.file.map[place.start : place.start + place.nbytes])


def test_room_comes_back_when_nothing_refers_to_it() -> None:
    room = Room(8 * PAGE)
    first, second = room.cut(3 * PAGE), room.cut(4 * PAGE + 1)
    assert first is not None and second is not None and room.cut(1) is None
    view = torch.frombuffer(second, dtype=torch.uint8)[10:20]
    del second
    assert room.cut(4 * PAGE) is None, "a view still lies there"
    del view
    fitting = room.cut(5 * PAGE)
    assert fitting is not None
    del fitting, first
    assert room.cut(8 * PAGE) is not None, "neighbours join"


def test_bytes_are_lent_as_often_as_asked_for(anywhere: None, file: MappedFile) -> None:
    direct, all_of_it = Direct(1 << 20), places(file)
    direct.ask(all_of_it)
    direct.ask(all_of_it[:1])
    for place in all_of_it:
        direct.take([place])
        assert place.start in file.lent and content(place) == true(place)
        direct.done([place])
    assert list(file.lent) == [all_of_it[0].start], "that is to be used once more"
    direct.rest()
    assert not file.lent and content(all_of_it[0]) == true(all_of_it[0])


def test_neighbours_are_read_at_once(anywhere: None, file: MappedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    read, asked, reads = module._read, threading.Event(), []

    def slowly(descriptor: int, of: MappedFile, begin: int, needed: int, part: memoryview) -> None:
        asked.wait(10)
        reads.append((begin, needed))
        read(descriptor, of, begin, needed, part)

    monkeypatch.setattr(module, "_read", slowly)
    monkeypatch.setattr(module, "_READERS", 1)
    direct, all_of_it = Direct(1 << 20), places(file)
    direct.ask([all_of_it[30]])
    direct.ask(reversed(all_of_it[:30]))
    asked.set()
    direct.take(all_of_it[:31])
    assert len(reads) <= 3 and all(content(place) == true(place) for place in all_of_it[:31])
    direct.rest()


@pytest.mark.parametrize("in_turn", [True, False])
def test_little_room_and_another_order_than_announced(anywhere: None, file: MappedFile, in_turn: bool) -> None:
    """Whoever needs what finds no room reads it where room is, so that nobody waits for ever; what is held stays what it was."""
    direct, all_of_it = Direct(6 * PAGE), places(file)
    direct.ask(all_of_it)
    held = []
    for place in all_of_it if in_turn else reversed(all_of_it):
        direct.take([place])
        held.append((place, file.view(place.start, (place.nbytes,), torch.uint8)))
        direct.done([place])
    assert all(bytes(view.numpy()) == true(place) for place, view in held)
    direct.rest()
    assert all(bytes(view.numpy()) == true(place) for place, view in held)


def test_several_take_at_a_time(anywhere: None, file: MappedFile) -> None:
    direct, all_of_it, wrong = Direct(12 * PAGE), places(file), []
    direct.ask(all_of_it)

    def use(mine: list[Place]) -> None:
        for place in mine:
            direct.take([place])
            if content(place) != true(place):
                wrong.append(place)
            direct.done([place])

    threads = [threading.Thread(target=use, args=(all_of_it[i::3],), daemon=True) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not wrong and not any(thread.is_alive() for thread in threads)
    direct.rest()
    assert not any(thread.name == "read-direct" for thread in threading.enumerate())


def test_what_is_too_large_for_the_room_is_mapped(anywhere: None, file: MappedFile) -> None:
    direct, whole = Direct(4 * PAGE), Place(file, 0, file.size)
    direct.ask([whole])
    direct.take([whole])
    assert not file.lent and content(whole) == true(whole)
    direct.rest()


def test_a_file_cut_short_is_named(anywhere: None, file: MappedFile) -> None:
    direct, all_of_it = Direct(1 << 20), places(file)
    direct.take(all_of_it[:1])
    os.truncate(file.path, 20 * PAGE)
    direct.ask(all_of_it[-3:-1])
    for place in all_of_it[-3:]:  # announced or not
        with pytest.raises(BadFile, match="weights: it has become shorter"):
            direct.take([place])
    direct.take(all_of_it[:3])
    assert all(content(place) == true(place) for place in all_of_it[:3])
    direct.rest()


def test_another_file_under_its_name_is_not_taken_for_it(anywhere: None, file: MappedFile) -> None:
    other = file.path.with_name("other")
    other.write_bytes(bytes(file.size))
    other.replace(file.path)
    direct, (first, *_) = Direct(1 << 20), places(file)
    direct.ask([first])
    direct.take([first])
    assert not file.lent and content(first) == true(first) != bytes(first.nbytes)
    direct.rest()


def test_a_file_system_that_refuses_is_left_to_the_mapping(anywhere: None, file: MappedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(module, "_read", refuse)
    direct, all_of_it = Direct(1 << 20), places(file)
    direct.ask(all_of_it)
    direct.take(all_of_it)
    assert not file.lent and content(all_of_it[3]) == true(all_of_it[3])
    direct.rest()


def test_a_failing_disk_is_told(anywhere: None, file: MappedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module, "_read", fail)
    direct, (first, *_) = Direct(1 << 20), places(file)
    direct.ask([first])
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            direct.take([first])
    direct.rest()


def test_what_is_in_memory_is_mapped(file: MappedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_around", lambda path: os.open(path, os.O_RDONLY))
    monkeypatch.setattr(module.Asking, "in_memory", lambda asking, start, nbytes: 1.0)
    direct, all_of_it = Direct(1 << 20), places(file)
    direct.ask(all_of_it)
    direct.take(all_of_it)
    assert not file.lent and not any(thread.name == "read-direct" for thread in threading.enumerate())
    direct.rest()


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(Linear(64, 64) for _ in range(12))


def load(path: Path, budget: int | None) -> dict[str, torch.Tensor]:
    """A net's weights as a pool makes them."""
    made = {}
    with Pool(budget=budget).lease(Loadable(str(path), Net, Views(open_weights(path)))) as net:
        for place, layer in net.named_modules():
            for own, slot in layer.slots.items() if isinstance(layer, Layer) else ():
                assert isinstance(slot, Resident)
                weight = slot.settle()
                made[f"{place}.{own}"] = (weight.to_dense() if weight.is_mkldnn else weight).clone()
    return made


def test_a_pool_reads_so_where_memory_is_short(anywhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read, reads = tmp_path / "net.safetensors", module._read, []

    def recorded(descriptor: int, of: MappedFile, begin: int, needed: int, part: memoryview) -> None:
        reads.append(needed - begin)
        read(descriptor, of, begin, needed, part)

    expected = {name: torch.randn(p.shape) for name, p in Net().named_parameters()}
    save_safetensors(path, expected)
    monkeypatch.setattr(READING, "around", lambda path: True)
    monkeypatch.setattr(module, "_read", recorded)
    for budget, around in ((path.stat().st_size, True), (1 << 40, False)):
        made = load(path, budget)
        assert all(torch.equal(made[name], weight) for name, weight in expected.items())
        assert (sum(reads) >= sum(weight.nbytes for weight in expected.values())) is around, "all of it, or nothing"
        reads.clear()


def test_the_page_cache_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(random.Random(0).randbytes(64 * PAGE + 100))
    try:
        with path.open("rb") as written:
            os.fsync(written.fileno())
            os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(open_around(path))
    except (OSError, AttributeError):
        pytest.skip("files are read through the page cache here")
    file, direct = opened(path), Direct(16 * PAGE)
    asking = Asking(path)
    if asking.in_memory(0, file.size):
        pytest.skip("this file system keeps files in memory")
    direct.ask(places(file))
    made = []
    for place in places(file):
        direct.take([place])
        made.append(content(place))
        direct.done([place])
    assert not asking.in_memory(0, file.size)
    direct.rest()
    assert made == [true(place) for place in places(file)]
    assert asking.in_memory(0, file.size) == 1, "that was read through it"
    asking.close()


def test_the_page_cache_keeps_what_leaves_as_much_free() -> None:
    gib = 1 << 30
    assert keeps(7 * gib, None) and keeps(7 * gib, 15 * gib)
    assert not keeps(7 * gib, 14 * gib) and not keeps(1, 0)
