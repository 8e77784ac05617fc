"""Flags become torch's switches, and threads are as many as cores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from backend.base.config import parse
from backend.memory.tune import physical_cores, slow_float32_product, tune
from backend.nn import eight
from backend.nn.attention import PREFERENCE
from backend.nn.packed import PACKING
from backend.weights.mapped import READING, MappedFile


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    tune(parse([]))
    PACKING.float32 = False
    torch.backends.cuda.matmul.allow_fp16_accumulation = torch.backends.cudnn.benchmark = False
    eight.WISH.floats = eight.WISH.integers = False


def test_flags_become_switches() -> None:
    assert tune(parse(["--use-split-cross-attention", "--force-upcast-attention", "--disable-mmap"])) == []
    assert (PREFERENCE.kernel, PREFERENCE.upcast, READING.mapped) == ("products", True, False)
    assert tune(parse(["--use-pytorch-cross-attention", "--fast"])) == []
    assert (PREFERENCE.kernel, PREFERENCE.upcast, READING.mapped) == ("fused", False, True)
    assert torch.backends.cuda.matmul.allow_fp16_accumulation and torch.backends.cudnn.benchmark
    assert eight.WISH.floats and not eight.WISH.integers
    said = tune(parse(["--use-sage-attention", "--fast", "autotune", "magic"]))
    assert len(said) == 2 and "magic" in said[1] and not eight.WISH.floats


def test_a_cpu_says_once_that_it_has_no_products_in_float8() -> None:
    (said,) = tune(parse(["--cpu", "--fast", "fp8_matrix_mult", "int8_matrix_mult"]))
    assert "does not multiply in float8" in said and eight.WISH.floats and eight.WISH.integers


def test_files_that_are_not_mapped_hold_the_same(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))
    file = MappedFile(path)
    mapped = file.view(4, (3, 5), torch.int16)
    READING.mapped = False
    assert torch.equal(file.view(4, (3, 5), torch.int16), mapped)
    path.write_bytes(b"short")
    with pytest.raises(OSError, match="shorter"):
        file.view(4, (3, 5), torch.int16)


def test_a_core_with_two_threads_counts_once(tmp_path: Path) -> None:
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    assert physical_cores(tmp_path, range(4)) == 2
    assert physical_cores(tmp_path, [0, 2]) == 1
    assert physical_cores(tmp_path / "none", range(3)) == 3
    assert physical_cores() >= 1


def test_the_float32_product_is_chosen_by_the_maker(tmp_path: Path) -> None:
    (tmp_path / "amd").write_text("vendor_id : AuthenticAMD\n")
    (tmp_path / "intel").write_text("vendor_id : GenuineIntel\n")
    assert slow_float32_product(tmp_path / "amd")
    assert not slow_float32_product(tmp_path / "intel") and not slow_float32_product(tmp_path / "none")
