"""Eight and four bits beside their scales, against the definitions written out slowly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backend.base.errors import BadFile
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import Linear
from backend.weights.file import Views
from backend.weights.open import open_weights
from backend.weights.quant.stored import with_numbers
from backend.weights.save import save_safetensors

NF4 = torch.tensor(
    [-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0, 0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0]
)


def opened(path: Path, tensors: dict[str, Tensor]) -> Any:
    save_safetensors(path / "a.safetensors", tensors)
    return open_weights(path / "a.safetensors")


def weight(rows: int = 6, width: int = 8) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("scale", ["scale_weight", "weight_scale", ""])
def test_float8(tmp_path: Path, dtype: torch.dtype, scale: str) -> None:
    stored = (weight() / 4).to(dtype)
    more = {f"x.{scale}": torch.tensor(4.0)} if scale else {}
    file = opened(tmp_path, {"x.weight": stored, "x.bias": torch.ones(6), "scaled_fp8": torch.zeros(0).to(dtype), **more})
    assert set(file) - {"scaled_fp8"} == {"x.weight", "x.bias"} and file["x.weight"].shape == (6, 8)
    expected = torch.tensor([[float(v) * (4.0 if scale else 1.0) for v in row] for row in stored.float()])
    assert torch.equal(file.tensor("x.weight").float(), expected) and file["x.weight"].dtype == (torch.float32 if scale else dtype)
    packed = file.packed("x.weight")
    assert (
        torch.equal(packed.dense(), expected)
        and packed.nbytes == 48 + (4 if scale else 0)
        and packed.kind.startswith("fp8")
        and file.packed("x.bias") is None
    )


def test_a_scale_for_each_row(tmp_path: Path) -> None:
    scales = torch.arange(1.0, 7.0)[:, None] / 100
    stored = torch.randint(-127, 128, (6, 8), dtype=torch.int8)
    file = opened(tmp_path, {"x.weight": stored, "x.weight_scale": scales})
    assert torch.equal(file.tensor("x.weight"), stored.float() * scales)
    file = opened(tmp_path, {"x.weight": stored, "x.SCB": scales[:, 0], "x.weight_format": torch.zeros(1, dtype=torch.uint8)})
    assert set(file) == {"x.weight"}
    assert torch.allclose(file.tensor("x.weight"), stored.float() * scales / 127, rtol=1e-6)


def four_bits(shape: tuple[int, ...], block: int, nested: bool) -> tuple[dict[str, Tensor], Tensor]:
    """Random codes and scales, and the weight they mean, one value after the other."""
    g = torch.Generator().manual_seed(3)
    count = torch.Size(shape).numel()
    codes = torch.randint(0, 16, (count + count % 2,), generator=g)
    scales = -(-count // block)
    told: dict[str, Any] = {"quant_type": "nf4", "blocksize": block, "dtype": "bfloat16", "shape": list(shape)}
    tensors = {"x.weight": (codes[::2] * 16 + codes[1::2]).to(torch.uint8)[:, None], "x.weight.quant_map": NF4}
    if nested:
        fine, table = torch.randint(0, 256, (scales,), generator=g), torch.linspace(-1, 1, 256)
        coarse = torch.rand(-(-scales // 4), generator=g)
        absmax = [float(table[fine[i]]) * float(coarse[i // 4]) + 0.5 for i in range(scales)]
        told |= {"nested_blocksize": 4, "nested_dtype": "float32", "nested_offset": 0.5}
        tensors |= {"x.weight.absmax": fine.to(torch.uint8), "x.weight.nested_absmax": coarse, "x.weight.nested_quant_map": table}
    else:
        tensors["x.weight.absmax"] = torch.rand(scales, generator=g)
        absmax = tensors["x.weight.absmax"].tolist()
    tensors["x.weight.quant_state.bitsandbytes__nf4"] = torch.tensor(list(json.dumps(told).encode()), dtype=torch.uint8)
    return tensors, torch.tensor([float(NF4[codes[i]]) * absmax[i // block] for i in range(count)]).reshape(shape)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("shape", [(8, 16), (3, 5), (2, 3, 3, 3)])
def test_four_bits(tmp_path: Path, shape: tuple[int, ...], nested: bool) -> None:
    tensors, expected = four_bits(shape, 16, nested)
    file = opened(tmp_path, tensors)
    assert set(file) == {"x.weight"} and file["x.weight"].shape == shape
    assert torch.allclose(file.tensor("x.weight"), expected, rtol=1e-5, atol=1e-7)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x = Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.x(x)
        return out


def test_dense_compact_and_streamed_agree(tmp_path: Path) -> None:
    tensors, expected = four_bits((8, 16), 16, True)
    source = Views(opened(tmp_path, {**tensors, "x.bias": torch.ones(8)}))
    outs, kept = [], []
    for budget in (None, 500, 100):
        pool = Pool(budget=budget)
        with torch.inference_mode(), pool.lease(Loadable("n", Net, source)) as net:
            outs.append(net(torch.ones(2, 16)))
        kept.append(pool.table()[0]["resident_bytes"])
    assert torch.equal(outs[0], outs[1]) and torch.equal(outs[0], outs[2])
    assert torch.allclose(outs[0], expected.sum(1).expand(2, -1) + 1, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x.weight.absmax": torch.ones(2)}, "sizes"),
        ({"x.weight.absmax": None}, "absmax is missing"),
        ({"x.weight.quant_state.bitsandbytes__nf4": torch.zeros(3, dtype=torch.uint8)}, "no JSON"),
        ({"x.weight.quant_state.bitsandbytes__nf4": torch.tensor(list(b"[1]"), dtype=torch.uint8)}, "no table"),
        ({"x.weight.quant_state.bitsandbytes__nf4": torch.tensor(list(b"{}"), dtype=torch.uint8)}, "does not say"),
    ],
)
def test_scales_that_do_not_fit_are_said(tmp_path: Path, change: dict[str, Tensor | None], words: str) -> None:
    tensors: dict[str, Any] = {**four_bits((8, 16), 16, False)[0], **change}
    with pytest.raises(BadFile, match=words):
        opened(tmp_path, {k: v for k, v in tensors.items() if v is not None})
    with pytest.raises(BadFile, match="5 scales"):
        opened(tmp_path, {"y.weight": torch.zeros(4, 4, dtype=torch.int8), "y.weight_scale": torch.ones(5)})


def test_a_file_of_plain_numbers_stays_itself(tmp_path: Path) -> None:
    file = opened(tmp_path, {"a.weight": torch.ones(2), "b": torch.zeros(3, dtype=torch.uint8)})
    assert with_numbers(file) is file


def kronecker(size: int) -> Tensor:
    """The rotation as it is defined."""
    four = torch.tensor([[1.0, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]])
    matrix = four
    while len(matrix) < size:
        matrix = torch.kron(matrix, four)
    return matrix / size**0.5


def said(**facts: Any) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps({"format": "int8_tensorwise", **facts}).encode()), dtype=torch.uint8)


@pytest.mark.parametrize(("group", "width"), [(None, 512), (64, 192), (16, 48), (4, 8)])
@pytest.mark.parametrize("header", [False, True])
def test_rotated_weights_are_turned_back(tmp_path: Path, group: int | None, width: int, header: bool) -> None:
    """Rotated, rounded, and read again: within the half step that rounding costs."""
    rows = 70
    matrix, whole = kronecker(group or 256), weight(rows, width)
    rotated = (whole.reshape(rows, -1, len(matrix)) @ matrix.T).reshape(rows, width)
    scale = rotated.abs().amax(1, keepdim=True) / 127
    tensors = {
        "x.weight": (rotated / scale).round().to(torch.int8),
        "x.weight_scale": scale,
        "y.weight": torch.ones(4, 4, dtype=torch.int8),
    }
    tensors |= {"y.weight_scale": torch.tensor(0.5), "y.comfy_quant": said()}
    facts = {"convrot": True, **({} if group is None else {"convrot_groupsize": group})}
    if header:
        save_safetensors(tmp_path / "a_convrot.safetensors", tensors, {"_quantization_metadata": json.dumps({"layers": {"x": facts}})})
    else:
        save_safetensors(tmp_path / "a_convrot.safetensors", tensors | {"x.comfy_quant": said(**facts)})
    file = open_weights(tmp_path / "a_convrot.safetensors")
    assert set(file) == {"x.weight", "y.weight"} and file.tensor("y.weight").sum() == 8
    exact = ((tensors["x.weight"] * scale).reshape(rows, -1, len(matrix)) @ matrix).reshape(rows, width)
    assert torch.allclose(file.tensor("x.weight"), exact, atol=1e-5)
    assert (file.tensor("x.weight") - whole).norm() < 0.02 * whole.norm()
    packed = file.packed("x.weight")
    assert packed is not None and packed.kind == "int8 rotated" and packed.nbytes == rows * width + 4 * rows
    assert packed.narrow is not None and packed.narrow.group == len(matrix)


@pytest.mark.parametrize(
    "facts", [{"convrot_groupsize": 32}, {"convrot_groupsize": 16}, {"convrot_groupsize": "16"}, {"convrot_groupsize": 2**40}]
)
def test_rotations_that_cannot_be_are_said(tmp_path: Path, facts: dict[str, Any]) -> None:
    tensors = {"x.weight": torch.ones(4, 8, dtype=torch.int8), "x.weight_scale": torch.tensor(0.5)}
    with pytest.raises(BadFile, match="8 channels wide, is said to be rotated in groups of"):
        opened(tmp_path, tensors | {"x.comfy_quant": said(convrot=True, **facts)})
    with pytest.raises(BadFile, match="does not say how its weight is kept"):
        opened(tmp_path, tensors | {"x.comfy_quant": torch.zeros(3, dtype=torch.uint8)})
    save_safetensors(tmp_path / "krea2_int8_convrot.safetensors", tensors)
    with pytest.raises(BadFile, match="does not say which"):
        open_weights(tmp_path / "krea2_int8_convrot.safetensors")
