"""GGUF files written by the reference tool, and broken ones."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from backend.base.errors import BadFile
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import Linear
from backend.weights.file import Renamed, Views
from backend.weights.open import open_weights

gguf = pytest.importorskip("gguf")
KINDS = gguf.GGMLQuantizationType


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Linear(64, 96), Linear(96, 64)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(torch.relu(self.a(x)))
        return out


def write(path: Path, kind: int = KINDS.Q8_0) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(0)
    state = {name: numbers.standard_normal(p.shape, dtype=np.float32) for name, p in Net().named_parameters()}
    writer = gguf.GGUFWriter(path, "toy")
    writer.add_string("general.name", "toy")
    writer.add_array("some.list", ["a", "b"])
    writer.add_array("comfy.gguf.orig_shape.folded", [4, 8, 2])
    for name, value in state.items():
        raw = gguf.quants.quantize(value, kind) if value.ndim > 1 else value.astype(np.float16)
        writer.add_tensor(name, raw, raw_dtype=kind if value.ndim > 1 else None)
    writer.add_tensor("folded", np.arange(64, dtype=np.float32).reshape(2, 32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return state


def test_numbers_and_facts(tmp_path: Path) -> None:
    state = write(tmp_path / "a.gguf")
    file = open_weights(tmp_path / "a.gguf")
    assert set(file) == {*state, "folded"} and file.metadata["general.name"] == "toy"
    assert file["a.weight"].shape == (96, 64) and file["folded"].shape == (4, 8, 2)
    for name, value in state.items():
        assert np.abs(file.tensor(name).float().numpy() - value).max() < 0.02
    packed = Renamed(file, {"w": "a.weight"}).packed("w")
    assert packed is not None and (packed.kind, packed.nbytes) == ("Q8_0", 96 * 64 // 32 * 34) and file.packed("a.bias") is None


@pytest.mark.parametrize("kind", [KINDS.Q4_0, KINDS.Q8_0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dense_compact_and_streamed_agree_bit_for_bit(tmp_path: Path, kind: int, dtype: torch.dtype) -> None:
    write(tmp_path / "a.gguf", kind)
    source = Views(open_weights(tmp_path / "a.gguf"))
    what = Loadable("net", Net, source, dtype=dtype)
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(1)).to(dtype)
    dense = (2 * 64 * 96 + 160) * dtype.itemsize
    results, held = [], []
    for budget in (None, dense - 1, 100):
        pool = Pool(budget=budget)
        for _ in range(2):
            with torch.inference_mode(), pool.lease(what) as net:
                results.append(net(x).clone())
        held.append(pool.table()[0]["resident_bytes"])
    assert all(torch.equal(one, results[0]) for one in results)
    assert held[0] == dense and 0 < held[1] < dense * 0.7 and held[2] <= 100


def test_patches_stand_on_the_numbers(tmp_path: Path) -> None:
    write(tmp_path / "a.gguf")
    source = Views(open_weights(tmp_path / "a.gguf"))
    patched = Loadable("net", Net, source, {"a.weight": (lambda w: w + 1,)}, "p")
    outs = []
    for budget in (None, 40_000, 0):
        with torch.inference_mode(), Pool(budget=budget).lease(patched) as net:
            outs.append(net(torch.ones(1, 64)))
            layer = net.get_submodule("a")
            assert isinstance(layer, Linear) and torch.equal(layer.get("weight", torch.ones(1)), source["a.weight"] + 1)
    assert torch.equal(outs[0], outs[1]) and torch.equal(outs[0], outs[2])


def test_damaged_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    write(path)
    good = path.read_bytes()
    rng = random.Random(0)
    cases = [good[:n] for n in (4, 11, 24, 60, 300, len(good) - 1)]
    cases += [
        b"GGUF" + struct.pack("<I", 1) + good[8:],
        b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60),
    ]
    for case in cases:
        path.write_bytes(case)
        with pytest.raises(BadFile, match=r"a\.gguf"):
            open_weights(path)
    for _ in range(200):
        broken = bytearray(good)
        for _ in range(3):
            broken[rng.randrange(8, 700)] = rng.randrange(256)
        path.write_bytes(broken)
        try:
            file = open_weights(path)
            for key in file:
                file.tensor(key)
        except BadFile:
            pass


def test_number_formats_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    name = b"x"
    path.write_bytes(
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 1) + name + struct.pack("<IQIQ", 1, 256, 16, 0) + bytes(600)
    )
    with pytest.raises(BadFile, match="number format 16"):
        open_weights(path)
