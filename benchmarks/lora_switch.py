"""Changing the strength of a LoRA (rank 16, 192 modules) on a UNet of Stable Diffusion 1.5's size: CPU seconds and bytes.

`python -m benchmarks.lora_switch`. Weights are random, written as fp16 to a temporary directory (1.7 GB) and deleted afterwards.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from backend.diffusion.handle import ModelHandle
from backend.families.sd import SD1_FAMILY
from backend.families.sd.unet import UNet, UNetSizes
from backend.memory.device import probe
from backend.memory.heap import trim
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import Layer
from backend.weights.file import Views
from backend.weights.lora import apply
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from benchmarks.load import as_worker
from benchmarks.table import Row, report

RANK = 16
CORES = 2
PEER = 1.0  # CPU seconds another application takes to patch the same on one thread of such a machine; it keeps 1.2 GB more


def main() -> None:
    """Measure and print rows."""
    as_worker("benchmarks.lora_switch")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        unet, lora = Path(folder, "unet.safetensors"), Path(folder, "lora.safetensors")
        write(unet, lora)
        report(measure(unet, lora))


def write(unet: Path, lora: Path) -> None:
    """The two files, random values."""
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in UNet(UNetSizes()).named_parameters()}
    facts = {name: (shape, torch.float16) for name, shape in shapes.items()}
    save_safetensors(unet, {name: noise(shape, torch.float16) for name, shape in shapes.items()}, shapes=facts)
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if name.endswith(".weight") and is_target(name.removesuffix(".weight")):
            key = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
            kernel = (1,) * (len(shape) - 2)
            tensors[f"{key}.lora_up.weight"] = noise((shape[0], RANK, *kernel), torch.float16)()
            tensors[f"{key}.lora_down.weight"] = noise((RANK, *shape[1:]), torch.float16)()
            tensors[f"{key}.alpha"] = torch.tensor(8.0)
    save_safetensors(lora, tensors)


def noise(shape: tuple[int, ...], dtype: torch.dtype) -> Callable[[], Tensor]:
    return lambda: torch.randn(shape).mul_(0.02).to(dtype)


def is_target(module: str) -> bool:
    """The modules that LoRA trainers change in a UNet: everything linear in and around its transformers."""
    inside = (".to_q", ".to_k", ".to_v", ".to_out.0", ".ff.net.0.proj", ".ff.net.2", ".proj_in", ".proj_out")
    return module.endswith(inside)


def anonymous() -> int:
    """Bytes of memory of this process that no file backs (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def measure(unet: Path, lora: Path) -> list[Row]:
    """Rows: patch, switch, remove."""
    dtype = probe().compute_dtype("unet")
    pool = Pool("cpu")
    loadable = Loadable("unet", lambda: UNet(UNetSizes()), Views(open_weights(unet)), dtype=dtype)
    model = ModelHandle(loadable, SD1_FAMILY, UNetSizes(), SD1_FAMILY.noise({}))
    with pool.lease(model.leasable()) as net:
        settle(net, pool)
    trim()  # the load leaves holes of its own in the heap; without this the base would count them and flatter what follows
    base = anonymous()

    def patched(strength: float) -> Any:
        found, _, result = apply(model, None, open_weights(lora), strength)
        assert found is not None and result.model == 192 and not result.unmatched
        return found

    start = time.process_time()
    first = patched(0.8)
    read = time.process_time() - start
    add = lease(pool, first.leasable())
    switches = [lease(pool, patched(s).leasable()) for s in (0.5, 1.0, 0.3, 0.7, 0.2)]
    with pool.lease(patched(0.7).leasable()) as net:
        packs = packing(net, pool)
    torch.set_num_threads(CORES)
    together = [wall(pool, patched(s).leasable()) for s in (0.6, 1.1, 0.4, 0.9, 0.1)]
    torch.set_num_threads(1)
    held = anonymous() - base
    ten = model
    for i in range(10):
        found, _, _ = apply(ten, None, open_weights(lora), 0.05 * (i + 1))
        assert found is not None
        ten = found
    lease(pool, ten.leasable())
    held_by_ten = anonymous() - base
    remove = lease(pool, model.leasable())
    kind = str(dtype).removeprefix("torch.")
    both = median(switches)
    return [
        Row("LoRA r16 on SD1.5: read and match the file", f"{read * 1000:.0f} ms CPU"),
        Row(f"LoRA r16 on SD1.5 ({kind}, 1 thread): put it on", f"{add:.2f} s CPU", f"≤ {PEER} s"),
        Row(f"LoRA r16 on SD1.5 ({kind}, 1 thread): change its strength", f"{both - packs:.2f} s CPU", "≤ 0.3 s"),
        Row("packing what it changed for the kernels", f"{packs:.2f} s CPU; both {both:.2f} (best {min(switches):.2f})"),
        Row(f"both on {CORES} cores", f"{median(together):.2f} s (best {min(together):.2f})", "≤ 0.3 s"),
        Row(f"LoRA r16 on SD1.5 ({kind}, 1 thread): take it off", f"{remove:.2f} s CPU"),
        Row("LoRA r16 on SD1.5: memory held beyond the unpatched model", f"{held / 1e6:.0f} MB", "≤ 50 MB"),
        Row("ten LoRAs r16 on SD1.5: the same", f"{held_by_ten / 1e6:.0f} MB", "≤ 50 MB"),
    ]


def lease(pool: Pool, loadable: Loadable) -> float:
    """CPU seconds until the net is ready and every weight is packed."""
    start = time.process_time()
    with pool.lease(loadable) as net:
        settle(net, pool)
        return time.process_time() - start


def packing(net: nn.Module, pool: Pool) -> float:
    """CPU seconds to pack what the LoRA changes, by itself."""
    seconds = 0.0
    for path, module in net.named_modules():
        if is_target(path) and isinstance(module, Layer):
            weight = module.slots["weight"].fetch(pool.device, probe().compute_dtype("unet"))
            plain = weight.to_dense() if weight.is_mkldnn else weight
            del weight
            start = time.process_time()
            module.pack("weight", plain)
            seconds += time.process_time() - start
    return seconds


def wall(pool: Pool, loadable: Loadable) -> float:
    """Seconds until the same."""
    start = time.perf_counter()
    lease(pool, loadable)
    return time.perf_counter() - start


def settle(net: nn.Module, pool: Pool) -> None:
    """Bring and pack every weight, as the first step would."""
    dtype = probe().compute_dtype("unet")
    for module in net.modules():
        for slot in module.slots.values() if isinstance(module, Layer) else ():
            slot.fetch(pool.device, dtype)


if __name__ == "__main__":
    main()
