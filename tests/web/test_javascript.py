"""The editor's own tests (node:test) and its type check. They need Node.js 20, which running Emulsion does not."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = sorted(Path(__file__).parent.glob("*.test.mjs"))
TSC = ROOT / "node_modules" / ".bin" / "tsc"


def node() -> str:
    """The path of Node.js 20 or newer; skips the test where there is none."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node.js is not installed; the editor's tests need version 20 or newer")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    if int(re.match(r"v?(\d+)", version)[1]) < 20:  # type: ignore[index]
        pytest.skip(f"the editor's tests need Node.js 20 or newer, this is {version}")
    return found


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name.removesuffix(".test.mjs"))
def test_javascript(path: Path) -> None:
    done = subprocess.run([node(), "--test", "--test-reporter=tap", str(path)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    counted = dict(re.findall(r"^# (tests|pass|fail) (\d+)$", done.stdout, re.MULTILINE))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert int(counted["tests"]) > 0
    assert counted["fail"] == "0"
    if missing := re.search(r"# SKIP (no .*shared.*)$", done.stdout, re.MULTILINE):
        if int(counted["pass"]) == 0:
            pytest.skip(missing[1])
        print(f"left out in part: {missing[1]}")


def test_there_are_tests() -> None:
    assert {"document.test.mjs", "random_edits.test.mjs", "corpus.test.mjs"} <= {path.name for path in TESTS}


@pytest.mark.parametrize("project", ["tsconfig.json", "tsconfig.page.json"])
def test_types(project: str) -> None:
    if not TSC.exists():
        pytest.skip("TypeScript is not installed; `make check-web` installs it and checks the types of the editor")
    done = subprocess.run([node(), str(TSC), "--noEmit", "-p", project], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_heart_of_the_editor_has_no_page() -> None:
    """core/ and format/ run without a browser; the type check would say so too, but not everybody has it."""
    files = [*(ROOT / "web" / "core").rglob("*.js"), *(ROOT / "web" / "format").rglob("*.js")]
    for path in files:
        code = re.sub(r"//.*|/\*[\s\S]*?\*/", "", path.read_text(encoding="utf-8"))
        assert not re.search(r"\b(window|localStorage|navigator|HTMLElement|fetch\()", code), f"{path.name} uses the page"
        for target in re.findall(r'from "([^"]+)"', code):
            assert target.startswith("."), f"{path.name} imports {target}"
            pure = (path.parent / target).resolve() in [each.resolve() for each in files]
            assert pure, f"{path.name} imports {target}, which is not pure"
            assert "core" not in path.parts[-3:] or "format" not in target, f"{path.name} is in core/ and imports {target}"
