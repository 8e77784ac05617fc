"""What installing a pack's requirements would change in this environment, found out before anything is changed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from backend.base.config import ROOT
from backend.base.errors import NotInstalled

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


@dataclass(frozen=True)
class Change:
    """One package: the version there is (None: absent) and the one there would be."""

    name: str
    now: str | None
    then: str

    def __str__(self) -> str:
        return f"{self.name} {self.then} (new)" if self.now is None else f"{self.name} {self.now} -> {self.then}"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def own_pins() -> dict[str, str]:
    """The versions this application is pinned to."""
    return {canonical(n): v for n, v in _PIN.findall((ROOT / "requirements.txt").read_text("utf-8"))}


def plan(file: Path, timeout: float = 600.0) -> list[Change]:
    """What pip would install for a requirements file. Changes nothing. Raises NotInstalled when pip finds no solution."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", "-r", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["pip gave no reason"]
        raise NotInstalled(
            f"The pack's requirements cannot be met: {last[0]}", hint="Install them by hand, or use another version of the pack."
        )
    found = json.loads(done.stdout or "{}")
    return [
        Change(canonical(i["metadata"]["name"]), version_of(i["metadata"]["name"]), i["metadata"]["version"])
        for i in found.get("install", ())
    ]


def version_of(name: str) -> str | None:
    """The installed version, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def refused(changes: list[Change], pins: Mapping[str, str]) -> list[Change]:
    """Those of the changes that would break the application: torch, and what it is pinned to."""
    return [c for c in changes if c.name == "torch" or c.name.startswith("nvidia-") or (c.name in pins and c.then != pins[c.name])]


def install(file: Path, timeout: float = 3600.0) -> None:
    """Let pip install a requirements file. Raises NotInstalled."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "-r", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["pip gave no reason"]
        raise NotInstalled(f"The pack's requirements could not be installed: {last[0]}", hint="The pack was not put in place.")
