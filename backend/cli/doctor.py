"""`main.py doctor`: what this installation is, and whether it works."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from backend.base.config import ROOT, Settings, parse
from backend.base.errors import Problem

if TYPE_CHECKING:
    import torch

    from backend.memory.device import DeviceFacts

GIB = 2**30
PARTS: tuple[Literal["unet", "vae", "text_encoder"], ...] = ("unet", "vae", "text_encoder")
LITTLE_SPACE = 2 * GIB
DESCRIPTION = """Look at versions, folders, devices and number types, and run a small model for real.

Takes the flags of `serve`, such as --cpu or --base-directory, and looks at what they would use.
Exit status 0 when all is well, 1 when not."""


@dataclass(frozen=True)
class Finding:
    """One line of the report. `ok` None: a fact, neither good nor bad."""

    topic: str
    text: str
    ok: bool | None = None

    def __str__(self) -> str:
        mark = {True: "ok  ", False: "BAD ", None: "    "}[self.ok]
        return f"{mark}{self.topic:<14}{self.text}"


def main(argv: Sequence[str]) -> int:
    """Print the report; 1 when something is wrong."""
    if "-h" in argv or "--help" in argv:
        form = argparse.RawDescriptionHelpFormatter
        argparse.ArgumentParser("main.py doctor", description=DESCRIPTION, formatter_class=form).print_help()
        return 0
    try:
        settings = parse(argv)
    except Problem as error:
        print(error, file=sys.stderr)
        return 2
    bad = 0
    for look in (versions, folders, devices, models, nodes, forward):
        for finding in _contained(look, settings):
            print(finding, flush=True)
            bad += finding.ok is False
    print(f"\n{'All is well.' if not bad else f'{bad} thing(s) need attention.'}")
    return int(bad > 0)


def _contained(look: Callable[[Settings], Iterator[Finding]], settings: Settings) -> Iterator[Finding]:
    """A look that fails is a finding, and the others still happen: this is the one place where any error is an answer."""
    try:
        yield from look(settings)
    except Exception as error:  # noqa: BLE001
        yield Finding(look.__name__, f"{type(error).__name__}: {error}", False)


def versions(settings: Settings) -> Iterator[Finding]:
    """Python, the system, and each pinned package against what is installed."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield Finding("Python", f"{platform.python_version()} on {system}", sys.version_info >= (3, 11))
    different = []
    wanted = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for name, pinned in re.findall(r"^([\w.-]+)==([\w.]+)", wanted, flags=re.MULTILINE):
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding("packages", f"{name} {pinned} is not installed: run `make run` or `python tools/install.py`", False)
            continue
        if name == "torch":
            yield Finding("torch", installed)
        if installed.split("+")[0] != pinned:
            different.append(f"{name} {installed} instead of {pinned}")
    yield Finding("packages", "; ".join(different) if different else "all at the pinned versions", None if different else True)


def folders(settings: Settings) -> Iterator[Finding]:
    """Where files are read and written, whether they can be, and how much room is left."""
    found = settings.folders()
    for name in ("models", "input", "output", "temp", "user"):
        path: Path = getattr(found, name)
        nearest = next(p for p in (path, *path.parents) if p.exists())
        if name == "models":
            yield Finding(name, str(path), path.is_dir())
            continue
        free = shutil.disk_usage(nearest).free
        writable = os.access(nearest, os.W_OK)
        state = "" if writable else ", cannot be written"
        little = f", only {free / GIB:.1f} GiB free" if free < LITTLE_SPACE else f", {free / GIB:.0f} GiB free"
        yield Finding(name, f"{path}{state}{little}", writable and free >= LITTLE_SPACE)


def devices(settings: Settings) -> Iterator[Finding]:
    """The device a worker would own, and how fast it multiplies in each number type."""
    import torch

    from backend.memory.device import probe

    facts = probe(settings)
    yield Finding("device", facts.sentence(settings), True)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        try:
            speed = _multiply(facts, dtype)
        except RuntimeError as error:
            yield Finding(name, f"does not work here: {error}")
            continue
        used = [part for part in PARTS if facts.compute_dtype(part, settings) == dtype]
        yield Finding(name, f"{speed / 1e9:,.0f} GFLOP/s" + (f", used for {', '.join(used)}" if used else ""))
    yield from _kernels(settings, facts.device)


def _kernels(settings: Settings, device: torch.device) -> Iterator[Finding]:
    """How fast kernels are chosen, and what was measured so far."""
    from backend.memory.kernels import Kernels

    kernels = Kernels(settings, device, settings.folders().user / ".kernels.json")
    told, pending = kernels.told(), kernels.open()
    if not kernels.measures:
        yield Finding("kernels", "by rules, as --kernel-choice says")
    elif pending:
        yield Finding("kernels", f"{len(pending)} questions are measured before the first job; then the answers are kept")
    elif not told:
        where = "by rules that were measured on this kind of processor" if device.type == "cpu" else "measured when a size first occurs"
        yield Finding("kernels", where)
    for sentence in told:
        yield Finding("kernels", sentence)


def _multiply(facts: DeviceFacts, dtype: torch.dtype, side: int = 512, seconds: float = 0.2) -> float:
    """Floating point operations per second of a matrix product of `side` x `side`."""
    import torch

    a = torch.randn(side, side, device=facts.device).to(dtype)
    torch.mm(a, a)[0, 0].item()
    begun, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - begun) < seconds:
        torch.mm(a, a)[0, 0].item()
        count += 1
    return float(2 * side**3 * count / spent)


def models(settings: Settings) -> Iterator[Finding]:
    """How many files of each kind there are."""
    found = settings.folders()
    for kind in sorted(found.kinds):
        names = found.list(kind)
        if names or kind == "checkpoints":
            some = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
            text = f"{len(names)} file(s): {some}" if names else "none: put one into models/checkpoints"
            yield Finding(kind, text, None if names else False)


def nodes(settings: Settings) -> Iterator[Finding]:
    """Whether the built-in nodes load."""
    from nodes import builtin

    yield Finding("nodes", f"{len(builtin())} built in", True)


def forward(settings: Settings) -> Iterator[Finding]:
    """Text, two steps and a decoded picture through the model that ships; a random net of its kind where it is not there."""
    from backend.cli.trial import random_net, shipped_model

    path = settings.folders().find("checkpoints", "emulsion-tiny.safetensors")
    yield Finding("picture", shipped_model(path, settings), True) if path else Finding("net", random_net(settings), True)
