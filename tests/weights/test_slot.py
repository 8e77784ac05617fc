from __future__ import annotations

import math
import threading
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from backend.weights.adapters.kinds import Difference, LowRank
from backend.weights.slot import Resident, materialise

CPU = torch.device("cpu")


def test_every_half_becomes_the_bfloat_of_a_direct_cast() -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    for count in (65536, 65535, 3, 1, 0):
        made = materialise(every[:count], (), CPU, torch.bfloat16)
        direct = every[:count].to(torch.bfloat16)
        assert torch.equal(made.isnan(), direct.isnan())  # whose bits differ
        assert torch.equal(made.nan_to_num(7).view(torch.int16), direct.nan_to_num(7).view(torch.int16))
    long = every.repeat(9)[2:].reshape(-1, 2)
    assert torch.equal(materialise(long, (), CPU, torch.bfloat16).nan_to_num(7), long.to(torch.bfloat16).nan_to_num(7))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(300, 4000), (7, 5, 3, 3), (2, 900_000)])
def test_what_changes_rows_is_done_in_pieces(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    weight, columns = torch.randn(shape, generator=g).half(), math.prod(shape[1:])
    up, down = torch.randn(shape[0], 3, generator=g), torch.randn(3, columns, generator=g)
    low, whole = LowRank(up, down, 0.5), Difference(torch.randn(shape, generator=g).half())
    kept = weight.clone()
    made = materialise(weight, (low.delta(0.7, "a"), whole.delta(-0.2, "b")), CPU, dtype)
    want = weight.float() + 0.35 * (up @ down).reshape(shape) - 0.2 * whole.value.float()
    assert made.shape == weight.shape and made.dtype == dtype and torch.equal(weight, kept)
    assert (made.float() - want).abs().max() <= (1e-5 if dtype == torch.float32 else 0.04)
    assert torch.allclose(
        materialise(weight, (low.delta(0.7, "a"), lambda w: w), CPU, dtype).float(), (want + 0.2 * whole.value.float()), atol=0.04
    )


def test_what_is_no_larger_travels_as_it_is_and_is_converted_where_it_goes() -> None:
    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            steps.append((out.device.type, out.dtype))
            return out

    meta, steps = torch.device("meta"), list[tuple[str, torch.dtype]]()
    for stored, first in ((torch.float8_e4m3fn, torch.float8_e4m3fn), (torch.float16, torch.float16), (torch.float32, torch.bfloat16)):
        weight = torch.zeros(4, 4).to(stored)
        steps.clear()
        with Seen():
            made = materialise(weight, (), meta, torch.bfloat16)
        assert made.device == meta and made.dtype == torch.bfloat16 and steps[0] == ("meta", first) and len(steps) <= 2


def test_a_weight_comes_at_its_first_use_and_only_once() -> None:
    made, packed = [], []

    def make() -> torch.Tensor:
        made.append(1)
        return torch.ones(4)

    def pack(weight: torch.Tensor) -> torch.Tensor:
        packed.append(1)
        return weight * 2

    slot = Resident.later(make, 16, pack)
    assert (slot.nbytes, slot.is_here, made) == (16, False, [])
    threads = [threading.Thread(target=slot.settle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert slot.is_here and slot.fetch(CPU, torch.float32).tolist() == [2, 2, 2, 2]
    assert (len(made), len(packed)) == (1, 1)


def test_a_weight_that_could_not_come_is_tried_again() -> None:
    tries = []

    def make() -> torch.Tensor:
        tries.append(1)
        if len(tries) == 1:
            raise MemoryError
        return torch.ones(1)

    slot = Resident.later(make, 4)
    try:
        slot.fetch(CPU, torch.float32)
    except MemoryError:
        pass
    assert slot.fetch(CPU, torch.float32).tolist() == [1]
