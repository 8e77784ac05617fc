"""A device that fails: known by what drivers say, told in a sentence, and the process goes."""

from __future__ import annotations

from typing import Any

import pytest

from backend.base import events as ev
from backend.engine.lost import is_device_lost
from backend.engine.oom import is_out_of_memory, memory_sentence
from tests.engine.runs import Bench, kind, node

LOST = [
    "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported at some other API call.",
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: device-side assert triggered",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: all CUDA-capable devices are busy or unavailable; the devices are unavailable",
    "HIP error: unspecified launch failure",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "level_zero backend failed, XPU: UR_RESULT_ERROR_DEVICE_LOST",
]
OTHERS = [
    "mat1 and mat2 shapes cannot be multiplied",
    "CUDA out of memory. Tried to allocate 2.00 GiB.",
    "CUDA error: out of memory",
    "Expected all tensors to be on the same device",
]


@pytest.mark.parametrize("text", LOST)
def test_what_drivers_say_of_a_device_that_is_gone(text: str) -> None:
    assert is_device_lost(RuntimeError(text)) and not is_out_of_memory(RuntimeError(text))


@pytest.mark.parametrize("text", OTHERS)
def test_other_errors_are_the_nodes(text: str) -> None:
    assert not is_device_lost(RuntimeError(text))


@pytest.mark.parametrize(
    "text",
    [
        OTHERS[2],
        "MPS backend out of memory (MPS allocated: 1 GB)",
        "CUBLAS_STATUS_ALLOC_FAILED when calling",
        "could not create a primitive",
        "can't start new thread",
    ],
)
def test_out_of_memory_without_a_type(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))


def test_what_a_library_cannot_do_is_no_want_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a convolution forward propagation primitive"))


def test_the_numbers_are_told() -> None:
    text = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB of which 512.00 MiB is free."
    assert memory_sentence(RuntimeError(text)) == (
        "This node needs more memory than there is: it asked for 2.1 GB at once, and 0.5 of 8.6 GB were free."
    )


def test_small_sizes_are_told_too() -> None:
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4194304 bytes. Error code 12")
    assert memory_sentence(error) == "This node needs more memory than there is: it asked for 4.2 MB at once."


def test_the_job_fails_with_a_sentence_and_the_process_is_told_to_go() -> None:
    def run(ctx: Any, a: Any) -> None:
        raise RuntimeError(LOST[0])

    gone: list[int] = []
    bench = Bench(kind("Net", run, "a", outputs=0), on_device_lost=lambda: gone.append(1))
    assert bench.run({"1": node("Net", a=1)}).status == "error"
    (failed,) = bench.of(ev.RunFailed)
    assert failed.message == "The device stopped working while this node ran (CUDA error: unspecified launch failure)."
    assert "started anew" in failed.hint
    assert gone == [1]
