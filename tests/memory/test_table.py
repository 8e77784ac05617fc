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
    assert head.split() == ["Model", "on", "the", "device", "type", "now", "why"]
    assert row.startswith("net.safetensors (unet)") and "in use" in row and "brought at each use" in row and "it needs" in row
    assert "3 results" in rest[1] and "net.safetensors (unet)" in rest[-1]
    assert text([], [], 5_000_000, 0).startswith("No model is on the device.")
