"""Products in eight bits: close to those of numbers, the same wherever the weights lie, with adapters beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.memory.pool import Loadable, Pool
from backend.nn import eight
from backend.nn.layers import GatedLinear, Linear
from backend.weights.file import Piece, Renamed, Views
from backend.weights.lora import read_adapters
from backend.weights.quant.cast import Cast, Multiplied
from backend.weights.quant.packed import float8
from backend.weights.quant.turned import turned
from backend.weights.slot import Resident
from tests.weights.test_quant_stored import opened

KINDS = ["plain", "e5m2", "scaled", "by rows", "int8", "rotated"]
WIDE, TALL = 64, 48


@pytest.fixture(autouse=True)
def _wished() -> Iterator[None]:
    eight.WISH.floats = eight.WISH.integers = eight.WISH.on_cpu = True
    eight._tried.cache_clear()
    yield
    eight.WISH.floats = eight.WISH.integers = eight.WISH.on_cpu = False
    eight._tried.cache_clear()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x, self.g = Linear(WIDE, TALL), GatedLinear(WIDE, TALL)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.x(x) + self.g(x)
        return out


def tensors(kind: str) -> dict[str, Tensor]:
    """Both layers as a file keeps them."""
    g = torch.Generator().manual_seed(1)
    parts: dict[str, Tensor] = {}
    for layer, rows in (("x", TALL), ("g", 2 * TALL)):
        dense = torch.randn(rows, WIDE, generator=g) / 8
        parts[f"{layer}.bias"] = torch.randn(rows, generator=g)
        if kind in ("int8", "rotated"):
            if kind == "rotated":
                dense, said = turned(dense, 16), b'{"convrot": true, "convrot_groupsize": 16}'
                parts[f"{layer}.comfy_quant"] = torch.tensor(list(said), dtype=torch.uint8)
            scale = dense.abs().amax(1, keepdim=True) / 127
            parts[f"{layer}.weight"] = (dense / scale).round().to(torch.int8)
            parts[f"{layer}.weight_scale"] = scale
            continue
        scale = dense.abs().amax(1, keepdim=True) / 448 if kind == "by rows" else torch.tensor(0.01 if kind == "scaled" else 1.0)
        parts[f"{layer}.weight"] = (dense / scale).to(torch.float8_e5m2 if kind == "e5m2" else torch.float8_e4m3fn)
        if kind in ("scaled", "by rows"):
            parts[f"{layer}.weight_scale"] = scale
    return parts


def views(path: Path, kind: str) -> Views:
    """The file as a diffusion model's is opened."""
    file = opened(path, tensors(kind))
    return Views(Multiplied(file, eight.wished()) if eight.wished() else file)


def run(loadable: Loadable, budget: int | None, x: Tensor) -> Tensor:
    with torch.inference_mode(), Pool(budget=budget).lease(loadable) as net:
        net(x)
        out: Tensor = net(x)
        return out


def input(dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(2, 5, WIDE, generator=torch.Generator().manual_seed(2)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_close_to_the_numbers_and_the_same_wherever_weights_lie(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    source = views(tmp_path, kind)
    loadable, x = Loadable("n", Net, source, dtype=dtype), input(dtype)
    out = run(loadable, None, x)
    assert out.dtype == dtype and all(torch.equal(run(loadable, budget, x), out) for budget in (6000, 0))
    exact = run(Loadable("n", Net, Views(source.file.file), dtype=dtype), None, x.float())  # type: ignore[attr-defined]
    assert 1e-4 < (out.float() - exact.float()).norm() / exact.float().norm() < 0.05
    assert not torch.equal(run(Loadable("n", Net, Views(source.file.file), dtype=dtype), None, x), out)  # type: ignore[attr-defined]


def test_the_product_itself_is_of_the_rounded_values() -> None:
    """The only error is that of rounding activations: at most half of the last of three bits."""
    g = torch.Generator().manual_seed(0)
    values, x = torch.randn(32, 64, generator=g).to(torch.float8_e4m3fn), torch.randn(7, 64, generator=g) * 1000
    x[0, 0] = 5e4
    weight = eight.Eight(values, torch.tensor(0.5), torch.float32)
    bound = x.abs() / 16 + x.abs().amax() / 448 * 2**-9
    assert ((weight.product(x, None) - F.linear(x, weight.to_dense())).abs() <= F.linear(bound, weight.to_dense().abs()) * 1.001).all()
    assert torch.equal(weight.product(torch.zeros(3, 64), torch.ones(32)), torch.ones(3, 32)), "no activation, no division by zero"


@pytest.mark.parametrize("kind", ["plain", "by rows", "int8", "rotated"])
def test_adapters_stand_beside_the_weight(tmp_path: Path, kind: str) -> None:
    source = views(tmp_path, kind)
    g = torch.Generator().manual_seed(7)
    down, up = torch.randn(4, WIDE, generator=g) / 100, torch.randn(TALL, 4, generator=g) / 10
    (tmp_path / "lora").mkdir()
    adapters = read_adapters(opened(tmp_path / "lora", {"m.lora_down.weight": down, "m.lora_up.weight": up, "m.alpha": torch.tensor(2.0)}))
    (adapter,) = adapters.by_target.values()
    x = input(torch.float32)

    def patched(strength: float) -> Loadable:
        return Loadable("n", Net, source, {"x.weight": (adapter.delta(strength, "m"),)}, f"lora{strength}")

    plain, out = run(Loadable("n", Net, source), None, x), run(patched(0.8), None, x)
    assert torch.allclose(out - plain, 0.8 * 0.5 * x @ (up @ down).T, atol=1e-5), "nothing of it is rounded away"
    assert torch.equal(run(patched(0.8), 0, x), out)
    pool = Pool()
    held = []
    for loadable in (patched(0.3), patched(0.8), Loadable("n", Net, source)):
        with torch.inference_mode(), pool.lease(loadable) as net:
            held.append((net(x), net.x.slots["weight"].settle().values.data_ptr()))
    assert torch.equal(held[1][0], out) and torch.equal(held[2][0], plain) and len({pointer for _, pointer in held}) == 1


def test_a_patch_that_is_no_thin_product_is_computed_with_numbers(tmp_path: Path) -> None:
    source = views(tmp_path, "plain")
    loadable = Loadable("n", Net, source, {"x.weight": (lambda w: w.mul_(2.0),)}, "twice", torch.bfloat16)
    with torch.inference_mode(), Pool().lease(loadable) as net:
        assert not isinstance(net.x.slots["weight"].settle(), eight.Eight) and isinstance(net.g.slots["weight"].settle(), eight.Eight)
        expected = F.linear(input(), (source["x.weight"].float() * 2).bfloat16(), source["x.bias"].bfloat16())
        assert torch.allclose(net.x(input()).float(), expected.float(), atol=0.05)


def test_pieces_of_a_weight_and_adapters_of_its_rows(tmp_path: Path) -> None:
    parts = tensors("scaled")
    file = Renamed(opened(tmp_path, parts), {"x.weight": (Piece("x.weight"), Piece("g.weight"))})
    packed = file.packed("x.weight")
    assert packed is not None and packed.narrow is not None and packed.narrow.scaled == "rows"
    whole = eight.eight(packed, torch.float32)
    assert torch.equal(whole.to_dense(), torch.cat([parts[f"{n}.weight"].float() * parts[f"{n}.weight_scale"] for n in "xg"]))


def test_a_file_opened_for_it_needs_no_flag(tmp_path: Path) -> None:
    eight.WISH.floats = eight.WISH.integers = False
    file = opened(tmp_path, {name: value.float() for name, value in tensors("plain").items()})
    for wanted in (False, True):
        cast = Cast(file, torch.float8_e4m3fn, wanted)
        with torch.inference_mode(), Pool().lease(Loadable(cast.mark, Net, Views(cast), dtype=torch.bfloat16)) as net:
            slot = net.x.slots["weight"]
            assert isinstance(slot, Resident) and isinstance(slot.settle(), eight.Eight) is wanted
    assert Cast(file, torch.float8_e4m3fn).mark != cast.mark


def test_what_does_not_fit_is_computed_with_numbers() -> None:
    cpu, small = torch.device("cpu"), replace(float8(torch.zeros(8, 16).to(torch.float8_e4m3fn)), multiplied=True)
    fits = replace(float8(torch.zeros(16, 16).to(torch.float8_e4m3fn)), multiplied=True)
    assert not eight.takes(small, cpu, torch.bfloat16), "rows are no multiple of 16"
    assert eight.takes(fits, cpu, torch.bfloat16) and not eight.takes(replace(fits, multiplied=False), cpu, torch.bfloat16)
    assert not eight.takes(fits, cpu, torch.int32), "the device refuses"
    eight.WISH.on_cpu = False
    assert not eight.takes(fits, cpu, torch.bfloat16)
