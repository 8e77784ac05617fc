"""The plan as a person reads it."""

from __future__ import annotations

import torch

from backend.memory.pool import Pool
from backend.memory.table import text
from tests.memory.test_pool import X, loadable, size


def test_the_table_says_what_is_where_and_why() -> None:
    what = loadable("/models/checkpoints/net.safetensors@12-34#unet")
    pool = Pool(budget=size(what) // 2)
    with torch.inference_mode(), pool.lease(what) as net:
        net(X)
        said = text(pool.table(), [(m.at, m.sentence()) for m in pool.moves], pool.limit(), 3)
    head, row, *rest = said.splitlines()
    assert head.split("  ")[0] == "Model" and head.endswith("why")
    assert row.startswith("net.safetensors (unet)") and "in use" in row and "0 of 0 MB" in row and "it needs" in row
    assert "3 results" in rest[1] and "net.safetensors (unet)" in rest[-1]
    pool.brought()
    (held,) = pool.table()
    large = {**held, "resident_bytes": 194_000_000, "total_bytes": 1_719_000_000, "read_seconds": 3.14, "patches": "x"}
    row, _, about, *_ = text([large], [], 429_000_000, 0, held["last_used"] + 7000).splitlines()[1:]
    for words in ("194 of 1,719 MB", "3.1 s", "2 h ago", "kept, patched"):
        assert words in row
    assert about.startswith("Models fill 194 MB of the 429 MB that")
    assert text([], [], 5_000_000, 0).startswith("No model is on the device.")
