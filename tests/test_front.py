"""What the front hands to its worker process."""

from __future__ import annotations

from backend.base.config import ROOT, parse
from backend.front import worker_command, worker_environment

BASE = {"PATH": "/bin", "PYTHONPATH": "/own"}


def environment(line: str) -> dict[str, str]:
    return worker_environment(parse(line.split()), BASE)


def test_the_worker_gets_the_flags_and_finds_the_code() -> None:
    assert worker_command(parse(["--cpu"]))[-3:] == ["-m", "backend.worker", "--cpu"]
    large_pages = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    assert environment("") == {"PATH": "/bin", "PYTHONPATH": f"{ROOT}:/own", "THP_MEM_ALLOC_ENABLE": "1", **large_pages}


def test_device_flags_reach_the_libraries_before_they_are_loaded() -> None:
    assert environment("--cuda-device 1")["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment("--deterministic")["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert environment("--cuda-malloc")["PYTORCH_CUDA_ALLOC_CONF"] == "backend:cudaMallocAsync"
    assert "PYTORCH_CUDA_ALLOC_CONF" not in environment("--disable-cuda-malloc")
