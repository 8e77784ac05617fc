"""Fixtures many tests share: a real server on a free port with directories of its own, and a headless browser."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported anywhere: small nets are slower on many threads

import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("emulsion", deadline=None)  # no test asserts a time: a busy machine is no fault
hypothesis.settings.load_profile("emulsion")

_find_spec = importlib.util.find_spec


def _without_torchvision(name: str, package: str | None = None) -> Any:
    """transformers imports torchvision where it finds it, and cannot beside a CPU torch: the wheel's compiled half is for CUDA."""
    return None if name.split(".")[0] == "torchvision" else _find_spec(name, package)


importlib.util.find_spec = _without_torchvision

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_MS = 120_000  # of a browser with a page that others keep from the processor; only a failure waits so long
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Running:
    """A server under test: where it answers, and its directories (input, output, user) below `home`."""

    url: str
    home: Path
    process: Any

    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])


def start_server(home: Path, *flags: str) -> Any:
    """`main.py serve` with every written directory below `home`; models are the repository's. Use it in a `with`."""
    from backend.cli.child import ServerProcess

    for name in ("input", "output", "user"):
        (home / name).mkdir(parents=True, exist_ok=True)
    where = ["--input-directory", str(home / "input"), "--output-directory", str(home / "output")]
    return ServerProcess(home / "user", [*where, "--kernel-choice", "rules", *flags])  # no server's first second goes into measuring


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for the whole session, on the CPU. Tests that break or configure a server start their own."""
    home = tmp_path_factory.mktemp("server")
    with start_server(home, "--cpu") as process:
        yield Running(process.url, home, process)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium, or the test is skipped."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: install chromium to run the browser tests")
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """A headless browser that stays offline but for the address under test. Per module: while it lives, no other event loop can run."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, headless=True, args=flags)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh page with storage of its own; it fails the test on any console error but those that hold a text of `page.expected`."""
    # The page forbids eval, by which the tests look into it; test_page.py looks once without this.
    context = browser.new_context(viewport={"width": 1280, "height": 800}, bypass_csp=True)
    context.set_default_timeout(PATIENCE_MS)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.problems = problems
    opened.expected = []  # the browser itself logs refused requests and lost connections, and may do so late
    yield opened
    context.close()
    problems = [each for each in problems if not any(text in each for text in opened.expected)]
    assert problems == [], f"the page complained: {problems}"


@pytest.fixture(scope="session")
def default_graph() -> dict[str, Any]:
    """The graph the page opens with."""
    import json

    graph: dict[str, Any] = json.loads((ROOT / "web" / "default_graph.json").read_text(encoding="utf-8"))
    return graph


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `gpu` need one. Those of a browser have a second try when something never happened, which the summary tells."""
    if config.pluginmanager.hasplugin("rerunfailures"):
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=["^TimeoutError: "]))
    if not any(item.get_closest_marker("gpu") for item in items):
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no GPU on this machine"))
