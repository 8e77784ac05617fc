"""The installer: installs once, again when a pin changes, and never believes in an installation that failed."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT


@pytest.fixture
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/install.py over a directory of its own; what it would run is in `.ran`, and pip's exit status in `.status`."""
    spec = importlib.util.spec_from_file_location("installer", ROOT / "tools" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-reference.txt"):
        (tmp_path / name).write_text("one==1\n")
    ran: list[list[str]] = []
    made = module

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        ran.append(command)
        return SimpleNamespace(returncode=made.status if "pip" in command else 0)

    def create(where: Path, **options: Any) -> None:
        python = module.interpreter(where)
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(module.venv, "create", create)
    made.ran, made.status = ran, 0  # type: ignore[attr-defined]
    return made


def installs(installer: ModuleType) -> list[str]:
    return [Path(command[-1]).name for command in installer.ran if "install" in command]


def test_a_second_start_runs_nothing(installer: ModuleType) -> None:
    installer.ensure(dev=False)
    assert installs(installer) == ["requirements.txt"]
    installer.ran.clear()
    installer.ensure(dev=False)
    assert installer.ran == []


def test_a_changed_pin_installs_again(installer: ModuleType, tmp_path: Path) -> None:
    installer.ensure(dev=False)
    (tmp_path / "requirements.txt").write_text("one==2\n")
    installer.ran.clear()
    installer.ensure(dev=False)
    assert installs(installer) == ["requirements.txt"]


def test_an_environment_for_tests_serves_for_running(installer: ModuleType) -> None:
    installer.ensure(dev=True)
    assert installs(installer) == ["requirements-dev.txt", "requirements-reference.txt"]
    assert "--no-deps" in next(c for c in installer.ran if c[-1].endswith("reference.txt"))
    installer.ran.clear()
    installer.ensure(dev=False)
    assert installer.ran == []
    (installer.VENV / ".installed-dev").unlink()
    installer.ensure(dev=True)
    assert installs(installer) != []


def test_a_failed_installation_is_tried_again(installer: ModuleType) -> None:
    installer.status = 1
    with pytest.raises(SystemExit, match=r"requirements\.txt failed"):
        installer.ensure(dev=False)
    installer.status = 0
    installer.ran.clear()
    installer.ensure(dev=False)
    assert installs(installer) == ["requirements.txt"]


def test_an_environment_whose_python_is_gone_is_made_again(installer: ModuleType) -> None:
    installer.ensure(dev=False)
    installer.interpreter(installer.VENV).unlink()
    installer.ran.clear()
    installer.ensure(dev=False)
    assert installs(installer) == ["requirements.txt"]
    assert installer.interpreter(installer.VENV).exists()


def test_every_requirement_is_pinned_exactly() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-reference.txt"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith(("#", "-r"))]
        assert [line for line in lines if "==" not in line] == []


def test_tools_of_the_editors_checks_are_asked_of_npm_once(installer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package.json").write_text('{"devDependencies": {"axe-core": "1", "typescript": "1"}}')
    monkeypatch.setattr(installer.shutil, "which", lambda name: f"/usr/bin/{name}")
    (tmp_path / "node_modules" / "typescript").mkdir(parents=True)
    installer.ensure_node_tools()
    assert [command[:2] for command in installer.ran] == [["/usr/bin/npm", "install"]]
    (tmp_path / "node_modules" / "axe-core").mkdir()
    installer.ran.clear()
    installer.ensure_node_tools()
    assert installer.ran == []
    monkeypatch.setattr(installer.shutil, "which", lambda name: None)
    (tmp_path / "node_modules" / "axe-core").rmdir()
    installer.ensure_node_tools()
    assert installer.ran == [], "without npm those checks are left out"
