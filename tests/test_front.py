"""What the front hands to its worker process."""

from __future__ import annotations

import os

from backend.base.config import ROOT, parse
from backend.front import worker_command, worker_environment

BASE = {"PATH": "/bin", "PYTHONPATH": "/own"}


def environment(line: str) -> dict[str, str]:
    settings = parse(line.split())
    return worker_environment(settings, BASE, settings.devices()[-1])


def test_the_worker_gets_the_flags_and_finds_the_code() -> None:
    assert worker_command(parse(["--cpu"]))[-3:] == ["-m", "backend.worker", "--cpu"]
    tunables = [f"glibc.malloc.{one}" for one in ("hugetlb=1", "arena_max=1", "mmap_threshold=33554432", "trim_threshold=1099511627776")]
    assert environment("") == {"PATH": "/bin", "PYTHONPATH": f"{ROOT}:/own", "GLIBC_TUNABLES": ":".join(tunables)}


def test_a_worker_of_a_worker_has_the_same_environment() -> None:
    once = environment("")
    assert worker_environment(parse([]), once) == once


def test_device_flags_reach_the_libraries_before_they_are_loaded() -> None:
    assert environment("--cuda-device 1")["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment("--cuda-device 0,3")["CUDA_VISIBLE_DEVICES"] == "3"
    assert int(environment("--workers 2")["OMP_NUM_THREADS"]) == max(1, (os.cpu_count() or 1) // 2)
    assert environment("--deterministic")["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert environment("--cuda-malloc")["PYTORCH_CUDA_ALLOC_CONF"] == "backend:cudaMallocAsync"
    assert "PYTORCH_CUDA_ALLOC_CONF" not in environment("--disable-cuda-malloc")
