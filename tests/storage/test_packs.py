"""Packs are put in place, replaced and taken back whole or not at all, and never at the price of the application's own packages."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from backend.base.errors import BadFile, BadInput, MissingFile, NotInstalled, Problem, Refused
from backend.cli import pack as command
from backend.storage.lock import DirectoryLock
from backend.storage.packs import folder as folder_module
from backend.storage.packs import requirements
from backend.storage.packs.folder import Installed, PackFolder, exchange
from backend.storage.packs.requirements import Change
from backend.storage.packs.sources import source_of


@pytest.fixture
def packs(tmp_path: Path) -> PackFolder:
    return PackFolder(tmp_path / "custom_nodes")


def made(root: Path, name: str = "good", text: str = "NODE_CLASS_MAPPINGS = {}  # 1\n") -> Path:
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "__init__.py").write_text(text)
    return root / name


def names(packs: PackFolder) -> list[str]:
    """Everything in the directory, so that nothing half done goes unseen."""
    return sorted(p.name for p in packs.root.iterdir()) + sorted(p.name for p in (packs.root / ".packs").glob("staging-*"))


def test_install_update_roll_back(packs: PackFolder, tmp_path: Path) -> None:
    source = made(tmp_path / "from")
    (source / "pyproject.toml").write_text('[project]\nversion = "1.0"\n')
    packs.install(source_of(source))
    assert packs.listed() == [Installed("good", True, version="1.0", source=str(source))]
    with pytest.raises(Refused, match="already"):
        packs.install(source_of(source))
    (source / "pyproject.toml").write_text('[project]\nversion = "2.0"\n')
    packs.update("good")
    assert [(p.version, p.earlier) for p in packs.listed()] == [("2.0", True)]
    packs.roll_back("good")
    assert packs.listed()[0].version == "1.0"
    packs.roll_back("good")
    assert packs.listed()[0].version == "2.0"
    packs.pin("good", True)
    for change in (packs.update, packs.roll_back):
        with pytest.raises(Refused, match="pinned"):
            change("good")
    packs.pin("good", False)
    packs.switch("good", False)
    assert names(packs) == [".packs", "good.disabled"] and not packs.listed()[0].on
    packs.update("good", source_of(made(tmp_path / "other", "new_name")))
    assert [(p.name, p.on, p.version) for p in packs.listed()] == [("good", False, None)]
    packs.switch("good", True)
    packs.switch("good", True)
    assert names(packs) == [".packs", "good"]
    for missing in (packs.update, packs.roll_back, lambda n: packs.switch(n, True), lambda n: packs.pin(n, True)):
        with pytest.raises(MissingFile, match="no pack named"):
            missing("absent")
    (packs.root / ".packs" / "state.json").write_text("{")
    with pytest.raises(MissingFile, match="came from"):
        packs.update("good")


def test_every_kind_of_source(packs: PackFolder, tmp_path: Path) -> None:
    source = made(tmp_path / "from")
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as archive:
        archive.write(source / "__init__.py", "good-main/__init__.py")
    (tmp_path / "one.py").write_text("NODE_CLASS_MAPPINGS = {}")
    digest = hashlib.sha256((tmp_path / "zipped.zip").read_bytes()).hexdigest()
    entries = [{"name": "indexed", "source": "zipped.zip", "sha256": digest}, {"name": "false", "source": "zipped.zip", "sha256": "0" * 64}]
    entries.append({"name": "far", "source": "https://example.org/x.zip"})
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"packs": entries}))
    packs.install(source_of(tmp_path / "zipped.zip"))
    packs.install(source_of(tmp_path / "one.py"))
    packs.install(source_of(index, "indexed"))
    assert names(packs) == [".packs", "indexed", "one.py", "zipped"] and (packs.root / "zipped" / "__init__.py").is_file()
    packs.update("indexed")
    with pytest.raises(BadFile, match="not the file"):
        packs.install(source_of(index, "false"))
    with pytest.raises(BadFile, match="an address"):
        source_of(index, "far")
    with pytest.raises(MissingFile, match="no pack named"):
        source_of(index, "other")
    with pytest.raises(BadInput, match="which one"):
        source_of(index)
    index.write_text("[]")
    with pytest.raises(BadFile, match="no index"):
        source_of(index, "indexed")
    assert [p.name for p in packs.listed()] == ["indexed", "one.py", "zipped"]


@pytest.mark.skipif(shutil.which("git") is None, reason="no git on this machine")
def test_a_git_bundle(packs: PackFolder, tmp_path: Path) -> None:
    source = made(tmp_path / "from")
    (source / "link").symlink_to("/etc/passwd")
    for arguments in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(source), *arguments], check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull})
    subprocess.run(["git", "-C", str(source), "bundle", "create", "-q", str(tmp_path / "b.bundle"), "HEAD"], check=True)
    packs.install(source_of(tmp_path / "b.bundle"))
    assert sorted(p.name for p in (packs.root / "b").iterdir()) == ["__init__.py", "link"]
    assert not (packs.root / "b" / "link").is_symlink() and len(packs.listed()[0].version or "") == 10
    (tmp_path / "c.bundle").write_bytes(b"# v2 git bundle\nnothing")
    with pytest.raises(BadFile, match="no git bundle"):
        packs.install(source_of(tmp_path / "c.bundle"))
    assert names(packs) == [".packs", "b"]


def test_bad_archives_leave_nothing(packs: PackFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def zipped(name: str, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, data in entries:
                archive.writestr(entry, data)
        return tmp_path / name

    good = ("__init__.py", b"")
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    monkeypatch.setattr("backend.storage.packs.sources.MOST_BYTES", 10_000)
    monkeypatch.setattr("backend.storage.packs.sources.MOST_FILES", 20)
    spoiled = bytearray(zipped("whole.zip", ("__init__.py", b"0123456789" * 500)).read_bytes())
    spoiled[45:60] = b"\xff" * 15
    (tmp_path / "spoiled.zip").write_bytes(spoiled)
    for path, words in (
        (zipped("up.zip", good, ("../../out.py", b"x")), "outside"),
        (zipped("abs.zip", good, ("/tmp/emulsion-test-out.py", b"x")), "outside"),
        (zipped("link.zip", good, (link, b"/etc/passwd")), "link"),
        (zipped("bomb.zip", good, ("a", b"\0" * 1_000_000)), "more than a pack"),
        (zipped("many.zip", good, *((f"f{i}", b"") for i in range(30))), "more than a pack"),
        (zipped("empty.zip"), "no __init__"),
        (zipped("no_pack.zip", ("readme.md", b"")), "no __init__"),
        (tmp_path / "spoiled.zip", "unpacked"),
        (tmp_path / "absent.zip", "no pack at"),
    ):
        with pytest.raises(Problem, match=words):
            packs.install(source_of(path))
        assert names(packs) == [".packs"], path
    assert not (tmp_path / "out.py").exists() and not list(tmp_path.rglob("out.py"))
    for name in ("../up", ".hidden", "__x", "a.disabled", "con", "a/b", ""):
        with pytest.raises(BadInput):
            packs.install(source_of(made(tmp_path / "from"), name or "."))


def test_one_change_at_a_time_and_a_kill_leaves_a_whole_pack(packs: PackFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = made(tmp_path / "from")
    packs.install(source_of(source))
    held = DirectoryLock(packs.root / ".packs")
    with pytest.raises(Refused, match="going on"):
        packs.pin("good", True)
    held.release()
    made(tmp_path / "from", text="# 2\n")
    killed = (
        f"import os, sys\nfrom pathlib import Path\nfrom backend.storage.packs import folder\nreal = folder.exchange\n"
        f"def exchange(a, b):\n  real(a, b) if sys.argv[1] == 'after' else None\n  os._exit(9)\nfolder.exchange = exchange\n"
        f"folder.PackFolder(Path({str(packs.root)!r})).update('good')\n"
    )
    for when, text in (("before", "1"), ("after", "2")):
        done = subprocess.run([sys.executable, "-c", killed, when], cwd=Path(__file__).parents[2], check=False)
        assert done.returncode == 9 and text in (packs.root / "good" / "__init__.py").read_text()
    packs.switch("good", True)
    assert names(packs) == [".packs", "good"], "what a killed process left is cleared away"

    monkeypatch.setattr(folder_module.sys, "platform", "elsewhere")
    exchange(made(tmp_path, "a", "a"), made(tmp_path, "b", "b"))
    assert (tmp_path / "a" / "__init__.py").read_text() == "b" and (tmp_path / "b" / "__init__.py").read_text() == "a"


def wheel(folder: Path, name: str, version: str) -> None:
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        about = f"{name}-{version}.dist-info"
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


def test_requirements_are_planned_and_never_break_the_application(
    packs: PackFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = made(tmp_path / "from")
    wheel(tmp_path, "emulsion_test_package", "1.5")
    wheel(tmp_path, "pillow", "999.0")

    def wants(*lines: str) -> None:
        (source / "requirements.txt").write_text("\n".join(["--no-index", f"--find-links {tmp_path}", *lines]))

    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(requirements, "install", lambda changes: told.append(tuple(c.line for c in changes)))
    wants("emulsion_test_package", "pillow")
    base = ["--base-directory", str(tmp_path)]
    assert command.main([*base, "install", str(source)]) == 0
    assert "emulsion-test-package 1.5 (new)" in capsys.readouterr().out
    assert told == [("emulsion-test-package==1.5",)], "pillow is there already, and stays as it is"
    wants("pillow==999.0")
    assert command.main([*base, "update", "good"]) == 2
    said = capsys.readouterr().err
    assert "pillow" in said and "-> 999.0" in said and "runs on" in said
    monkeypatch.setattr(requirements, "_ask", lambda *arguments: (None, "no matching distribution found for absent"))
    with pytest.raises(NotInstalled, match="found for absent"):
        packs.update("good")
    monkeypatch.setattr(requirements, "_ask", lambda *arguments: ({}, ""))
    (source / "new.py").touch()
    assert command.main([*base, "install", str(source), "--name", "other", "--plan"]) == 0
    assert "No package" in capsys.readouterr().out
    assert len(told) == 1 and [p.name for p in packs.listed()] == ["good"] and not (packs.root / "good" / "new.py").exists()


def test_what_counts_as_breaking() -> None:
    pins = {"numpy": "2.0"}
    harmless = [Change("torchvision", None, "1"), Change("numpy", "2.0", "2.0"), Change("other", "1", "2")]
    broken = [
        Change("torch", None, "2"),
        Change("nvidia-cudnn-cu12", None, "9"),
        Change("torchvision", "1", "2"),
        Change("numpy", "2.0", "1"),
    ]
    assert requirements.refused([*harmless, *broken], pins) == broken


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("ERROR: No match\nnote: see above", "No match."),
        ("  error: it ended\n  fatal: unable to access 'x'\nnote: no fault of pip.", "fatal: unable to access 'x'."),
        ("Something else\nhint: try again", "Something else."),
        ("", "pip gave no reason."),
    ],
)
def test_the_reason_that_pip_gives(said: str, why: str) -> None:
    assert requirements.reason(said) == why


def test_the_command(packs: PackFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = made(tmp_path / "from")
    base = ["--base-directory", str(tmp_path)]
    for arguments in (["install", str(source)], ["update", "good"], ["pin", "good"], ["disable", "good"], ["list"]):
        assert command.main([*base, *arguments]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "good  (off, pinned, earlier version kept)"
    assert command.main([*base, "rollback", "good"]) == 2 and "pinned" in capsys.readouterr().err
    for arguments in (["unpin", "good"], ["enable", "good"], ["rollback", "good"], ["list"]):
        assert command.main([*base, *arguments]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "good  (earlier version kept)"
    with pytest.raises(SystemExit):
        command.main([*base, "install"])
