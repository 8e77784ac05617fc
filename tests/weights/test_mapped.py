"""Files are mapped whatever their size, and whatever the system wants to set aside for mappings."""

from __future__ import annotations

import errno
import json
import mmap
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from backend.base.errors import OutOfMemory
from backend.engine.oom import is_out_of_memory
from backend.weights import mapped
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_file_may_be_larger_than_all_memory(tmp_path: Path) -> None:
    rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    much = sum(int(rows[name].split()[0]) * 1024 for name in ("MemTotal", "SwapTotal")) + (4 << 30)
    header = json.dumps(
        {
            "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
            "b": {"dtype": "U8", "shape": [much], "data_offsets": [16, 16 + much]},
        }
    ).encode()
    path = tmp_path / "large.safetensors"
    try:
        with path.open("wb") as f:
            f.write(struct.pack("<Q", len(header)) + header + struct.pack("<4f", 1, 2, 3, 4))
            f.truncate(8 + len(header) + 16 + much)  # a hole: it takes no room on the disk
    except OSError:
        pytest.skip("this file system has no holes")
    try:
        file = open_weights(path)
        assert file.tensor("a").tolist() == [1, 2, 3, 4]
        assert file.tensor("b")[-1] == 0
    finally:
        path.unlink()


def test_where_even_that_is_refused_the_mapping_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_safetensors(tmp_path / "a.safetensors", {"a": torch.arange(4.0)})
    real: Any = mmap.mmap
    refused: list[Any] = [{mmap.ACCESS_COPY, None}]

    def strict(descriptor: int, length: int, **how: Any) -> Any:
        if how.get("access") in refused[0]:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return real(descriptor, length, **how)

    monkeypatch.setattr(mapped.mmap, "mmap", strict)
    if sys.platform == "linux":
        with warnings.catch_warnings(record=True) as said:
            assert open_weights(tmp_path / "a.safetensors").tensor("a").tolist() == [0, 1, 2, 3]
        assert not said
    refused[0] = {mmap.ACCESS_COPY, mmap.ACCESS_READ, None}
    with pytest.raises(OutOfMemory, match="no memory left to open") as caught:
        open_weights(tmp_path / "a.safetensors")
    assert is_out_of_memory(caught.value)
