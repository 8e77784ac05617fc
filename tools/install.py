"""Make the virtual environment and install what the requirement files name; do nothing when that was done before.

    python tools/install.py            what the application needs
    python tools/install.py --dev      and what checks and tests need

Runs on a bare Python 3.11+ on Linux, macOS and Windows. What was installed is remembered inside the environment as a
digest of the requirement files, so a second start costs milliseconds and a changed pin is picked up by itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST = (3, 11)
RUN = ("requirements.txt",)
DEV = ("requirements.txt", "requirements-dev.txt", "requirements-reference.txt")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def interpreter(environment: Path) -> Path:
    """The Python of a virtual environment, on any system."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def digest(files: tuple[str, ...], python: Path) -> str:
    """What identifies an installation: the interpreter's path and the requirement files, byte for byte."""
    total = hashlib.sha256(str(python).encode())
    for name in files:
        total.update((ROOT / name).read_bytes())
    return total.hexdigest()


def works(python: Path) -> bool:
    """Whether this interpreter starts and has pip (an environment whose Python was removed or moved does not)."""
    if not python.exists():
        return False
    return subprocess.run([str(python), "-c", "import pip"], capture_output=True).returncode == 0


def install(files: tuple[str, ...], stamp: Path, wanted: str) -> None:
    """Run pip once per file; the reference file goes without the requirements of its packages (see the file)."""
    python = interpreter(VENV)
    if not works(python):
        print(f"Making {VENV.relative_to(ROOT)} with Python {sys.version.split()[0]} ...", flush=True)
        venv.create(VENV, with_pip=True, clear=VENV.exists())
    for name in files:
        if name == "requirements.txt" and "requirements-dev.txt" in files:
            continue  # the dev file includes it, and one resolution over both is the one that must hold
        print(f"Installing {name} ...", flush=True)
        bare = ["--no-deps"] if name == "requirements-reference.txt" else []
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *bare, "-r", str(ROOT / name)]
        if subprocess.run(command).returncode != 0:
            raise SystemExit(f"Installing {name} failed: pip's own words are above. Run the same command again once that is resolved.")
    stamp.write_text(wanted, encoding="ascii")


def ensure(dev: bool) -> None:
    """Install unless the environment already is what the files ask for. A dev environment serves for running too."""
    for files, name in ((DEV, "dev"),) if dev else ((RUN, "run"), (DEV, "dev")):
        stamp = VENV / f".installed-{name}"
        if stamp.exists() and stamp.read_text(encoding="ascii") == digest(files, interpreter(VENV)) and interpreter(VENV).exists():
            return
    name, files = ("dev", DEV) if dev else ("run", RUN)
    install(files, VENV / f".installed-{name}", digest(files, interpreter(VENV)))


def apt(*words: str) -> bool:
    """One quiet apt-get call that asks nothing; whether it went well."""
    command = ["apt-get", "-y", "-qq", "--no-install-recommends", *words]
    return subprocess.run(command, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}).returncode == 0


def ensure_browser() -> None:
    """Install Chromium with apt where that can be done without asking; elsewhere say that browser tests will be skipped."""
    if any(shutil.which(name) for name in BROWSERS):
        return
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        print("Installing Chromium for the browser tests ...", flush=True)
        if apt("install", "chromium") or (apt("update") and apt("install", "chromium")):
            return
    print("No Chromium here: browser tests will be skipped. Install chromium to run them.", flush=True)


def ensure_node_tools() -> None:
    """Install what package.json names (type check, accessibility rules) where Node.js with npm is; elsewhere those tests are skipped."""
    npm = shutil.which("npm")
    wanted = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    if npm is None or all((ROOT / "node_modules" / name).exists() for name in wanted):
        return
    print(f"Installing {', '.join(wanted)} for the checks of the editor ...", flush=True)
    quiet = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
    try:
        done = subprocess.run([npm, "install", *quiet], cwd=ROOT, timeout=300).returncode == 0
    except subprocess.TimeoutExpired:
        done = False
    if not done:
        print("npm could not install them: the checks of the editor that need them will be skipped.", flush=True)


def main(argv: list[str]) -> int:
    """Command line of this file."""
    if sys.version_info < OLDEST:
        print(f"Python {'.'.join(map(str, OLDEST))} or newer is needed, and this is {sys.version.split()[0]}.", file=sys.stderr)
        return 1
    parser = argparse.ArgumentParser(description="Make the virtual environment and install what the requirement files name.")
    parser.add_argument("--dev", action="store_true", help="also what checks and tests need")
    parser.add_argument("--browser", action="store_true", help="also Chromium and what package.json names, where they can be had")
    options = parser.parse_args(argv)
    ensure(options.dev)
    if options.browser:
        ensure_browser()
        ensure_node_tools()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
