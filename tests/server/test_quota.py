from __future__ import annotations

from pathlib import Path

import pytest

from backend.server import quota
from backend.server.quota import Quota
from backend.storage.files import NoSpace


def test_what_lies_there_and_what_comes_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(bytes(600))
    kept = Quota(1000)
    places = (tmp_path / "a", tmp_path / "not-there")
    kept.take(places, 300)
    with pytest.raises(NoSpace):
        kept.take(places, 300)
    Quota(0).take(places, 10**12)
    (tmp_path / "a" / "one").unlink()
    with pytest.raises(NoSpace):
        kept.take(places, 300)  # counted a moment ago
    monkeypatch.setattr(quota, "_FRESH_S", 0.0)
    kept.take(places, 300)
