"""Leases, patches, streaming and eviction on small nets."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backend.base.errors import Interrupted
from backend.memory.heap import trim
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import Conv2d, GroupNorm, Linear, init_weights
from backend.weights.file import Views
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from backend.weights.slot import Streamed


class Net(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.a = Conv2d(4, width, 3, padding=1)
        self.norm = GroupNorm(4, width)
        self.b = Conv2d(width, width, 3, padding=1)
        self.c = Linear(width, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.b(torch.relu(self.norm(self.a(x))))
        out: Tensor = self.c(h.mean(dim=(2, 3)))
        return out


@dataclass(frozen=True)
class Add:
    """A delta that can be compared."""

    amount: float

    def __call__(self, weight: Tensor) -> Tensor:
        assert weight.dtype == torch.float32
        return weight + self.amount


def loadable(key: str = "net", seed: int = 0, dtype: torch.dtype = torch.float32, width: int = 16) -> Loadable:
    torch.manual_seed(seed)
    weights = {k: v.detach() for k, v in init_weights(Net(width)).state_dict().items()}
    return Loadable(key, lambda: Net(width), weights, dtype=dtype)


def reference(source: Loadable, x: Tensor, change: Callable[[dict[str, Tensor]], None] | None = None) -> Tensor:
    net = Net(source.source["norm.weight"].shape[0])
    state = {k: v.clone() for k, v in source.source.items()}
    if change is not None:
        change(state)
    net.load_state_dict(state)
    out: Tensor = net(x)
    return out


X = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(9))


def run(pool: Pool, what: Loadable, working: int = 0) -> Tensor:
    with torch.inference_mode(), pool.lease(what, working) as net:
        return net(X.to(what.dtype)).clone()


def size(what: Loadable) -> int:
    return sum(t.numel() * what.dtype.itemsize for t in what.source.values())


def test_result_is_the_plain_nets() -> None:
    what = loadable()
    assert torch.allclose(run(Pool(), what), reference(what, X), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("patched", [False, True])
def test_streamed_equals_resident_bit_for_bit(dtype: torch.dtype, fraction: float, patched: bool) -> None:
    what = loadable(dtype=dtype)
    if patched:
        what = replace(what, deltas={"b.weight": (Add(0.25), Add(-0.125))}, fingerprint="p")
    small = Pool(budget=int(size(what) * fraction))
    assert torch.equal(run(small, what), run(Pool(), what))
    row = small.table()[0]
    assert row["streamed"] > 0
    assert row["resident_bytes"] <= size(what) * fraction


def test_originals_are_never_written() -> None:
    what = loadable()
    before = {k: v.clone() for k, v in what.source.items()}
    pool = Pool()
    for strength in (0.5, -1.0, 0.0):
        run(pool, replace(what, deltas={"c.weight": (Add(strength),), "a.bias": (Add(strength),)}, fingerprint=str(strength)))
    assert all(torch.equal(what.source[k], before[k]) for k in before)
    assert torch.equal(run(pool, what), run(Pool(), what))


def test_changing_patches_touches_only_what_differs() -> None:
    what, pool, reads = loadable(), Pool(), []

    class Counting(dict[str, Tensor]):
        def __getitem__(self, key: str) -> Tensor:
            reads.append(key)
            return super().__getitem__(key)

    what = replace(what, source=Counting(what.source))

    def materialised() -> set[str]:
        taken = set(reads)
        reads.clear()
        return taken

    run(pool, what)
    assert materialised() == set(what.source)
    run(pool, replace(what, deltas={"c.weight": (Add(1.0),)}, fingerprint="1"))
    assert materialised() == {"c.weight"}
    run(pool, replace(what, deltas={"c.weight": (Add(1.0),), "a.bias": (Add(1.0),)}, fingerprint="2"))
    assert materialised() == {"a.bias"}
    out = run(pool, what)
    assert materialised() == {"a.bias", "c.weight"}
    assert torch.equal(out, run(Pool(), what))


def test_patches_do_what_they_say() -> None:
    what = loadable()

    def change(state: dict[str, Tensor]) -> None:
        state["b.weight"] += 0.5

    patched = replace(what, deltas={"b.weight": (Add(0.5),)}, fingerprint="p")
    assert torch.allclose(run(Pool(), patched), reference(what, X, change), atol=1e-5)


def test_nested_leases_with_different_patches() -> None:
    what, pool = loadable(), Pool()
    patched = replace(what, deltas={"c.weight": (Add(1.0),)}, fingerprint="p")
    plain_out, patched_out = run(Pool(), what), run(Pool(), patched)
    with torch.inference_mode(), pool.lease(what) as outer:
        with pool.lease(patched) as inner:
            assert inner is not outer
            shared = list(inner.get_submodule("b").slots.values())  # type: ignore[union-attr,operator]
            assert shared == list(outer.get_submodule("b").slots.values())  # type: ignore[union-attr,operator]
            assert torch.equal(inner(X), patched_out)
            assert torch.equal(outer(X), plain_out)
        assert torch.equal(outer(X), plain_out)
    assert [row["key"] for row in pool.table()] == ["net"]


def test_least_recently_used_goes_first() -> None:
    nets = [loadable(f"n{i}", i) for i in range(3)]
    pool = Pool(budget=int(size(nets[0]) * 2.5))
    run(pool, nets[0])
    run(pool, nets[1])
    run(pool, nets[0])
    run(pool, nets[2])
    assert {row["key"] for row in pool.table()} == {"n0", "n2"}
    assert sum(row["resident_bytes"] for row in pool.table()) <= (pool.budget or 0)


def test_leased_nets_are_not_evicted() -> None:
    first, second = loadable("first"), loadable("second", 1)
    pool = Pool(budget=int(size(first) * 1.5))
    with pool.lease(first):
        assert torch.equal(run(pool, second), run(Pool(), second))
        assert {row["key"]: row["streamed"] > 0 for row in pool.table()} == {"first": False, "second": True}


def test_working_memory_counts() -> None:
    what = loadable()
    pool = Pool(budget=size(what) * 2)
    run(pool, what)
    assert pool.table()[0]["streamed"] == 0
    run(pool, what, working=int(size(what) * 1.8))
    assert pool.table()[0]["streamed"] > 0
    run(pool, what)
    assert pool.table()[0]["streamed"] == 0


def test_dtype_change_reloads() -> None:
    what, pool = loadable(dtype=torch.bfloat16), Pool()
    run(pool, what)
    exact = replace(what, dtype=torch.float32)
    assert torch.equal(run(pool, exact), run(Pool(), exact))


def test_free_forgets_everything_unused() -> None:
    pool = Pool()
    run(pool, loadable("a"))
    with pool.lease(loadable("b", 1)):
        pool.free()
        assert [row["key"] for row in pool.table()] == ["b"]
    pool.free()
    assert pool.table() == []


def test_missing_weights_are_named() -> None:
    what = loadable()
    broken = replace(what, source={k: v for k, v in what.source.items() if k != "b.bias"})
    pool = Pool()
    with pytest.raises(KeyError, match=r"b\.bias"), pool.lease(broken):
        pass
    assert pool.table() == []


def test_a_failed_lease_leaves_nothing_behind() -> None:
    what, pool = loadable(), Pool()

    def explode(weight: Tensor) -> Tensor:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"), pool.lease(replace(what, deltas={"c.bias": (explode,)}, fingerprint="x")):
        pass
    assert pool.table() == []
    assert torch.equal(run(pool, what), run(Pool(), what))


def test_parameters_must_belong_to_layers() -> None:
    with pytest.raises(TypeError, match="does not read slots"), Pool().lease(Loadable("x", lambda: nn.Linear(2, 2), {})):
        pass


def test_streamed_slot_reads_each_time() -> None:
    source: dict[str, Any] = {"w": torch.ones(2)}
    slot = Streamed(source, "w", (), torch.float32, lambda w: w)
    assert slot.fetch(torch.device("cpu"), torch.float32).tolist() == [1, 1]
    source["w"] = torch.zeros(2)
    assert slot.fetch(torch.device("cpu"), torch.float32).tolist() == [0, 0]


class Deep(nn.Module):
    """Many layers of one size, asked for in another order than that of construction every second time."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(24, 24) for _ in range(12))

    def forward(self, x: Tensor, backwards: bool = False) -> Tensor:
        for layer in reversed(self.layers) if backwards else self.layers:
            x = torch.tanh(layer(x))
        return x


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_bringing_ahead_changes_nothing_and_holds_little(share: float) -> None:
    weights = {k: v.detach() for k, v in init_weights(Deep()).state_dict().items()}
    what = Loadable("deep", Deep, weights, dtype=torch.bfloat16)
    whole = sum(t.numel() * 2 for t in weights.values())
    x = torch.randn(3, 24).bfloat16()
    small = Pool(budget=int(whole * share) + 2 * 24 * 24 * 2)
    ways = [False, False, True, True, False]
    with torch.inference_mode():
        with Pool().lease(what) as net:
            expected = [net(x, way) for way in ways]
        for _ in range(2):
            with small.lease(what) as net:
                found = [net(x, way) for way in ways]
                stream = small._live["deep"].stream
                assert stream is not None
                assert sum(slot.nbytes for slot in stream._ready) <= 24 * 24 * 2
            assert not stream._ready
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert small.table()[0]["resident_bytes"] <= whole * share
    last = small.moves[-1]
    assert last.what == "streamed" and last.nbytes >= whole * (1 - share) * 4 and "hidden behind computing" in last.why


def test_a_weight_that_cannot_be_brought_fails_where_it_is_used() -> None:
    class Broken(dict[str, Tensor]):
        def __getitem__(self, key: str) -> Tensor:
            if key == "layers.7.weight" and self.get("broken") is not None:
                raise OSError("the disk is gone")
            return super().__getitem__(key)

    weights = Broken({k: v.detach() for k, v in init_weights(Deep()).state_dict().items()})
    pool, x = Pool(budget=24 * 24 * 8), torch.randn(1, 24)
    with torch.inference_mode(), pool.lease(Loadable("deep", Deep, weights)) as net:
        before = net(x)
        weights["broken"] = torch.zeros(1)
        with pytest.raises(OSError, match="disk is gone"):
            net(x)
        del weights["broken"]
        assert torch.equal(net(x), before)


@pytest.mark.parametrize("share", [2.0, 0.5])
@pytest.mark.parametrize("patched", [False, True])
def test_a_run_may_end_between_two_weights(share: float, patched: bool) -> None:
    """A large model takes minutes to come: nobody waits for that after a cancel, and the next run goes on where this one ended."""
    what = loadable()
    if patched:
        what = replace(what, deltas={name: (Add(0.5),) for name in what.source}, fingerprint="add")
    pool = Pool(budget=int(size(what) * share))
    left = [3]

    def check() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted

    pool.check = check
    with pytest.raises(Interrupted):
        run(pool, what)
    left[0] = 1000
    assert not any(row["leased"] for row in pool.table())
    assert torch.equal(run(pool, what), run(Pool(), what))


def test_a_run_may_end_between_two_blocks() -> None:
    """On a CPU one step of a large net may take minutes."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Linear(8, 8) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x)
                done.append(1)
            return x

    done: list[int] = []
    weights = {k: v.detach() for k, v in init_weights(Deep()).state_dict().items()}
    pool = Pool()
    with torch.inference_mode(), pool.lease(Loadable("deep", Deep, weights)) as net:
        whole = net(torch.ones(1, 8))
        left = [2]

        def check() -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Interrupted

        pool.check = check
        done.clear()
        with pytest.raises(Interrupted):
            net(torch.ones(1, 8))
        assert len(done) == 2
        left[0] = 1000
        assert torch.equal(net(torch.ones(1, 8)), whole)


@pytest.mark.parametrize("share", [2.0, 0.5])
def test_without_memory_for_a_thread_nobody_helps(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    what = loadable()
    plain = run(Pool(), what)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = Pool(budget=int(size(what) * share))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            assert torch.equal(run(pool, what), plain)
    assert torch.equal(run(pool, what), plain)


def test_what_others_left_counts() -> None:
    what, free = loadable(), 0
    pool = Pool(spare=lambda: free)
    expected = run(Pool(), what)
    assert torch.equal(run(pool, what), expected)
    assert pool.table()[0]["resident_bytes"] < size(what)
    free = 1 << 40  # the other program has ended
    assert torch.equal(run(pool, what), expected)
    assert pool.table()[0]["resident_bytes"] == size(what)


def test_what_is_not_to_be_kept_goes_after_its_last_use() -> None:
    what = loadable()
    pool = Pool(keeps=False)
    pool.upcoming = lambda: [what]
    run(pool, what)
    assert len(pool.table()) == 1
    pool.upcoming = tuple
    run(pool, what)
    assert pool.table() == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_memory_goes_back_to_the_system(tmp_path: Path) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Linear(1000, 1000) for _ in range(80))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    def held() -> int:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    with torch.device("meta"):
        names = {name: (tuple(p.shape), torch.float16) for name, p in Wide().named_parameters()}
    save_safetensors(tmp_path / "wide.safetensors", {n: torch.ones(s, dtype=d).mul_(0.01) for n, (s, d) in names.items()})
    pool = Pool()
    what = Loadable("wide", Wide, Views(open_weights(tmp_path / "wide.safetensors")), {"layers.3.weight": (Add(1.0),)}, "p")
    gc.collect()
    trim()
    before = held()
    with torch.inference_mode(), pool.lease(what) as net:
        net(torch.randn(1, 1000))
        filled = pool.table()[0]["resident_bytes"]
        assert held() - before > 0.8 * filled
        del net
    pool.free()
    assert held() - before < 0.5 * filled  # the C library keeps up to 64 MB for each thread that brought weights


def test_a_part_of_models_may_live_in_another_pool() -> None:
    pool, other = Pool(), Pool()
    assert pool.of("vae") is pool
    pool.others["vae"] = other
    assert pool.of("vae") is other and pool.of("unet") is pool
    run(pool.of("vae"), loadable("vae"))
    run(pool, loadable("unet"))
    assert [row["key"] for row in pool.table()] == ["unet", "vae"]
    assert [row["key"] for row in other.table()] == ["vae"]
    pool.free()
    assert not pool.table() and not other.table()
