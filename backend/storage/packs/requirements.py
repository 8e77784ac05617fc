"""What installing a pack's requirements would change in this environment, found out before anything is changed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from backend.base.config import ROOT
from backend.base.errors import NotInstalled, Refused

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
_PATIENCE = 1800.0


@dataclass(frozen=True)
class Change:
    """One package: the version there is (None: absent) and the one there would be. `line` is how pip is told to get that very one."""

    name: str
    now: str | None
    then: str
    line: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.then} (new)" if self.now is None else f"{self.name} {self.now} -> {self.then}"


def canonical(name: str) -> str:
    """The form of a package's name in which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def own_pins() -> dict[str, str]:
    """The versions this application is pinned to."""
    return {canonical(n): v for n, v in _PIN.findall((ROOT / "requirements.txt").read_text("utf-8"))}


def plan(file: Path) -> list[Change]:
    """What pip would install for a requirements file, beside what this application needs. Changes nothing.

    Raises Refused when that is possible only by breaking the application, NotInstalled when it is not possible at all.
    """
    pins = own_pins()
    with tempfile.TemporaryDirectory(prefix="emulsion-plan-") as folder:
        held = Path(folder) / "held.txt"
        versions = {**{name: found for name in pins if (found := version_of(name)) is not None}, **pins}
        held.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()), "utf-8")
        report, why = _ask("-r", str(file), "-c", str(held))
        if report is None:
            report, why = _ask("-r", str(file))
            changes = _changes(report or {})
            broken = refused(changes, pins)
            if broken:
                raise Refused(
                    f"The pack would change what this application runs on: {', '.join(map(str, broken))}.",
                    hint="Use a version of the pack with other requirements, or install it without them by hand.",
                )
        if report is None:
            why = why.replace(str(file), file.name)
            raise NotInstalled(
                f"The pack's requirements cannot be met: {why}", hint="Install them by hand, or use another version of the pack."
            )
    return _changes(report)


def _ask(*arguments: str) -> tuple[dict[str, Any] | None, str]:
    """pip's report of what it would do, or None and its reason."""
    status, out, why = _pip("--dry-run", "--report", "-", *arguments)
    if status:
        return None, why
    found: dict[str, Any] = json.loads(out or "{}")
    return found, ""


def _pip(*arguments: str) -> tuple[int, str, str]:
    """Exit status, output and last words of `pip install`."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return 1, "", f"pip was not done after {_PATIENCE:.0f} seconds"
    return done.returncode, done.stdout, reason(done.stderr)


def reason(said: str) -> str:
    """The line of pip's complaints that says why, as a sentence."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    fatal = [line for line in lines if line.startswith("fatal")]
    rest = [line for line in lines if not line.startswith(("note:", "hint:"))]
    why = (errors or fatal or rest or ["pip gave no reason"])[-1].removeprefix("ERROR:").strip()
    return why if why.endswith((".", "!")) else f"{why}."


def _changes(report: Mapping[str, Any]) -> list[Change]:
    found = []
    for item in report.get("install", ()):
        about = item["metadata"]
        name, version = canonical(about["name"]), about["version"]
        line = f"{name} @ {item['download_info']['url']}" if item.get("is_direct") else f"{name}=={version}"
        found.append(Change(name, version_of(about["name"]), version, line))
    return found


def version_of(name: str) -> str | None:
    """The installed version, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def refused(changes: Iterable[Change], pins: Mapping[str, str]) -> list[Change]:
    """Those of the changes that would break the application: torch and its libraries, and what it is pinned to."""
    torch = ("torch", "torchvision", "torchaudio", "triton")
    return [
        c for c in changes
        if (c.name in torch and c.now is not None) or c.name == "torch" or c.name.startswith("nvidia-")
        or (c.name in pins and c.then != pins[c.name])
    ]  # fmt: skip


def install(changes: Iterable[Change]) -> None:
    """Make the planned changes and no others. Raises NotInstalled."""
    lines = [c.line for c in changes]
    if not lines:
        return
    status, _, why = _pip("--no-deps", *lines)
    if status:
        raise NotInstalled(f"The pack's requirements could not be installed: {why}", hint="The pack was not put in place.")
