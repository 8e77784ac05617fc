"""What the next job in line needs counts in the plans of the present one."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from backend.memory import later as module
from backend.memory.later import Later
from backend.memory.pool import Pool, file_of, title
from tests.memory.test_pool import loadable, run, size


def test_models_of_the_next_job_go_last(tmp_path: Path) -> None:
    nets = {name: loadable(f"{tmp_path}/{name}.safetensors@1-2#unet") for name in "abc"}
    for coming, kept in (((), "b"), (("a",), "a")):
        pool = Pool(budget=int(size(nets["a"]) * 2.5))
        pool.later = Later(lambda names=coming: [tmp_path / f"{name}.safetensors" for name in names], lambda: None)  # type: ignore[misc]
        for name in "abc":
            run(pool, nets[name])
        assert {row["title"][0] for row in pool.table()} == {kept, "c"}


def test_files_are_read_once_and_only_where_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda descriptor, at, nbytes, advice: asked.append((at, nbytes)), raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_WILLNEED", 3, raising=False)
    monkeypatch.setattr(module, "_LEFT", 10)
    files = [tmp_path / name for name in ("present", "gone", "large", "right")]
    for path, nbytes in zip(files, (5, 0, 500, 50), strict=True):
        path.write_bytes(bytes(nbytes))
    files[1].unlink()
    later = Later(lambda: files, lambda: 100)
    assert later, "there is something to read"
    assert later.read([str(files[0])]) == (files[3], 50)
    for thread in threading.enumerate():
        if thread.name == "read-later":
            thread.join()
    assert asked == [(0, module._PIECE)]
    assert later.read([str(files[0])]) is None
    files.remove(tmp_path / "right")
    assert later.read([]) == (tmp_path / "present", 5), "which was dropped since"


def test_the_file_of_the_next_job_is_read_when_nothing_of_this_one_is_to_come(tmp_path: Path) -> None:
    what = loadable(f"{tmp_path}/now.safetensors@1-2#unet")
    (tmp_path / "next.safetensors").write_bytes(b"weights")
    pool = Pool()
    pool.later = Later(lambda: [tmp_path / "next.safetensors"], lambda: None)
    pool.upcoming = lambda: [loadable("vae")]
    run(pool, what)
    assert "the next job uses it" not in pool.moves[-1].why
    pool.upcoming = tuple
    run(pool, what)
    if hasattr(os, "posix_fadvise"):
        assert pool.moves[-1].sentence() == "next.safetensors: read ahead, 0 MB, the next job uses it."


def test_keys_name_their_files() -> None:
    assert title("/home/me@work/a.safetensors@12-345#unet") == "a.safetensors (unet)"
    assert file_of("/home/me@work/a.safetensors@12-345#unet") == "/home/me@work/a.safetensors"
    assert (title("/models/a.safetensors"), title("net")) == ("a.safetensors", "net")
