"""What follows from facts about a device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backend.base.config import Settings
from backend.memory.device import GIB, DeviceFacts, cpu_computes_bf16, cuda_half, memory_available, memory_total, probe

CPU = DeviceFacts(torch.device("cpu"), "old", 16 * GIB, ())
NEW = DeviceFacts(torch.device("cpu"), "new", 16 * GIB, (torch.bfloat16,))
GPU = DeviceFacts(torch.device("cuda", 0), "gpu", 24 * GIB, (torch.float16, torch.bfloat16))
PASCAL = DeviceFacts(torch.device("cuda", 0), "gpu", 8 * GIB, (torch.float16,))


@pytest.mark.parametrize(
    ("facts", "unet", "vae", "text"),
    [
        (CPU, torch.float32, torch.float32, torch.float32),
        (NEW, torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (GPU, torch.float16, torch.bfloat16, torch.float16),
        (PASCAL, torch.float16, torch.float32, torch.float16),
    ],
)
def test_default_dtypes(facts: DeviceFacts, unet: torch.dtype, vae: torch.dtype, text: torch.dtype) -> None:
    assert facts.compute_dtype("unet", Settings()) == unet
    assert facts.compute_dtype("vae", Settings()) == vae
    assert facts.compute_dtype("text_encoder", Settings()) == text


def test_nets_trained_in_bfloat16_are_computed_in_it() -> None:
    """Many large ones exceed the range of fp16, and answer with values that are no numbers."""
    for stored in (torch.bfloat16, torch.float8_e4m3fn, torch.uint8):
        assert GPU.compute_dtype("unet", stored=stored) == torch.bfloat16 and PASCAL.compute_dtype("unet", stored=stored) == torch.float16
    for stored in (torch.float16, torch.float32):
        assert GPU.compute_dtype("unet", stored=stored) == torch.float16 and NEW.compute_dtype("unet", stored=stored) == torch.bfloat16
    assert GPU.compute_dtype("unet", Settings(unet_dtype="fp16"), torch.bfloat16) == torch.float16, "a flag decides"


def test_cards_that_compute_in_sixteen_bits() -> None:
    assert cuda_half("NVIDIA H100", 9) == (torch.float16, torch.bfloat16)
    assert cuda_half("NVIDIA GeForce RTX 2080", 7) == (torch.float16,)
    assert cuda_half("NVIDIA GeForce GTX 1660 SUPER", 7) == cuda_half("GeForce GTX 970", 5) == ()


def test_flags_force() -> None:
    assert NEW.compute_dtype("unet", Settings(force_dtype="fp32")) == torch.float32
    assert NEW.compute_dtype("vae", Settings(vae_dtype="fp32")) == torch.float32
    assert CPU.compute_dtype("unet", Settings(unet_dtype="bf16")) == torch.bfloat16
    assert NEW.compute_dtype("unet", Settings(unet_dtype="fp8_e4m3fn")) == torch.bfloat16, "8 bits are for storage"


def test_budget() -> None:
    assert GPU.budget(Settings(vram_budget=5)) == 5
    assert GPU.budget(Settings(memory="none")) == 0
    assert GPU.budget(Settings(reserve_vram=4 * GIB)) == 20 * GIB
    assert 20 * GIB < GPU.budget(Settings()) < GPU.budget(Settings(memory="high")) < 24 * GIB
    assert GPU.budget(Settings(memory="low")) == GPU.budget(Settings()) // 2
    assert (NEW.budget(Settings(ram_budget=3)), GPU.budget(Settings(ram_budget=3))) == (3, GPU.budget(Settings()))


def test_cpu_list(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor : 0\nflags : fpu avx512f avx512_bf16\n")
    assert cpu_computes_bf16(file)
    file.write_text("processor : 0\nflags : fpu avx512f xbf16\n")
    assert not cpu_computes_bf16(file)
    file.write_text("processor : 0\nFeatures : fp asimd bf16\n")
    assert cpu_computes_bf16(file)
    assert not cpu_computes_bf16(tmp_path / "none")


def test_memory(tmp_path: Path) -> None:
    info, limit = tmp_path / "meminfo", tmp_path / "max"
    info.write_text("MemFree: 1 kB\nMemTotal: 2048 kB\n")
    assert memory_total(info, limit) == 2048 * 1024
    limit.write_text("1000\n")
    assert memory_total(info, limit) == 1000
    limit.write_text("max\n")
    assert memory_total(info, limit) == 2048 * 1024


def test_this_machine() -> None:
    facts = probe(Settings(memory="cpu"))
    assert facts.device.type == "cpu"
    assert facts.total > 0
    assert "diffusion in" in facts.sentence()
    assert "diffusion in float32, autoencoder in float32" in facts.sentence(Settings(force_dtype="fp32"))


def test_what_can_be_had_now(tmp_path: Path) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 200 kB\nMemAvailable:  100 kB\n")
    assert memory_available(info, tmp_path) == 100 * 1024
    for name, text in (("current", "90000"), ("stat", "anon 9\ninactive_file 20000\nactive_file 5000\n"), ("max", "max")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory_available(info, tmp_path) == 100 * 1024
    (tmp_path / "memory.max").write_text("100000")
    assert memory_available(info, tmp_path) == 35_000, "what the container may still fill"
    (tmp_path / "memory.max").write_text("60000")
    assert memory_available(info, tmp_path) == 0
    assert memory_available(tmp_path / "none") is None
