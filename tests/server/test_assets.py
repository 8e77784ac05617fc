from __future__ import annotations

import os
from pathlib import Path

from backend.server.assets import Assets


def folder(root: Path) -> Path:
    (root / "core").mkdir()
    (root / "index.html").write_text('<link rel="stylesheet" href="style.css"><script src="main.js"></script><a href="https://x.y/z.js">')
    (root / "core" / "a.js").write_text("1")
    return root


def test_a_page_names_its_files_by_their_content(tmp_path: Path) -> None:
    assets = Assets(folder(tmp_path))
    version = assets.version()
    page = assets.page("index.html")
    assert f'href="/assets/{version}/style.css"' in page
    assert f'src="/assets/{version}/main.js"' in page
    assert "https://x.y/z.js" in page
    assert Assets(tmp_path).version() == version, "the same files, the same version"


def test_small_files_are_held_as_they_are_in_that_version(tmp_path: Path) -> None:
    assets = Assets(folder(tmp_path))
    version = assets.version()
    assert assets.held(version, "core/a.js", 60) == b"1"
    assert assets.held("another", "core/a.js", 60) is None
    assert assets.held(version, "core/a.js", 0) is None, "nobody has looked just now"
    assert assets.held(version, "../secret", 60) is None
    (tmp_path / "core" / "a.js").write_text("22")
    changed = assets.version()
    assert assets.held(version, "core/a.js", 60) is None
    assert assets.held(changed, "core/a.js", 60) == b"22"


def test_any_change_is_another_version(tmp_path: Path) -> None:
    assets = Assets(folder(tmp_path))
    before = assets.version()
    file = tmp_path / "core" / "a.js"
    file.write_text("2")
    os.utime(file, ns=(1, 1))
    changed = assets.version()
    assert changed != before
    file.write_text("1")
    os.utime(file, ns=(2, 2))
    assert assets.version() == before
    (tmp_path / "core" / "b.js").write_text("1")
    assert assets.version() != before
