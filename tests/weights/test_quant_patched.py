"""A LoRA on weights of each storage: the same as on the numbers they stand for, wherever the weights lie."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from backend.memory.pool import Loadable, Pool
from backend.nn.layers import Linear
from backend.weights.file import Views
from backend.weights.lora import read_adapters
from backend.weights.open import open_weights
from tests.weights.test_quant_stored import four_bits, opened, weight

STORAGES = ["fp8 plain", "fp8 scaled", "fp8 e5m2", "int8", "nf4", "Q4_0", "Q5_1", "Q8_0"]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x, self.y = Linear(32, 8, bias=False), Linear(32, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.x(x) - self.y(x)
        return out


def stored(path: Path, kind: str) -> Views:
    """Both layers with one random weight of 8 x 32, in the given storage."""
    dense = weight(8, 32)
    parts: dict[str, Tensor]
    if kind.startswith("Q"):
        gguf = pytest.importorskip("gguf")
        writer = gguf.GGUFWriter(path / "a.gguf", "toy")
        number = gguf.GGMLQuantizationType[kind]
        for name in ("x.weight", "y.weight"):
            writer.add_tensor(name, gguf.quants.quantize(dense.numpy(), number), raw_dtype=number)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return Views(open_weights(path / "a.gguf"))
    if kind == "nf4":
        parts = {key.removeprefix("x."): value for key, value in four_bits((8, 32), 16, False)[0].items()}
    elif kind == "int8":
        scales = dense.abs().amax(1, keepdim=True) / 127
        parts = {"weight": (dense / scales).round().to(torch.int8), "weight_scale": scales}
    else:
        dtype = torch.float8_e5m2 if "e5m2" in kind else torch.float8_e4m3fn
        parts = {"weight": dense.to(dtype), **({"scale_weight": torch.tensor(2.0)} if "scaled" in kind else {})}
    return Views(opened(path, {f"{layer}.{name}": value for layer in "xy" for name, value in parts.items()}))


@pytest.mark.parametrize("kind", STORAGES)
def test_a_lora_on_it(tmp_path: Path, kind: str) -> None:
    source = stored(tmp_path, kind)
    g = torch.Generator().manual_seed(7)
    down, up = torch.randn(4, 32, generator=g), torch.randn(8, 4, generator=g)
    (tmp_path / "lora").mkdir()
    lora = opened(tmp_path / "lora", {"m.lora_down.weight": down, "m.lora_up.weight": up, "m.alpha": torch.tensor(2.0)})
    (adapter,) = read_adapters(lora).by_target.values()
    delta = adapter.delta(0.5, "m")
    x = torch.randn(3, 32, generator=g)
    plain, patched = Loadable("n", Net, source), Loadable("n", Net, source, {"x.weight": (delta,)}, "lora")
    expected = x @ (source["x.weight"].float() + 0.5 * (2.0 / 4) * up @ down).T - x @ source["y.weight"].float().T
    outs = []
    for budget in (None, 2600, 700, 0):  # all; the patched one as numbers and the other in its bits; less; nothing
        pool = Pool(budget=budget)
        for what in (plain, patched):
            with torch.inference_mode(), pool.lease(what) as net:
                outs.append(net(x))
    assert not any(out.any() for out in outs[::2]), "both layers hold the same"
    assert torch.allclose(outs[1], expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(out, outs[1]) for out in outs[1::2])
