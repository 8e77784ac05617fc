"""What README and the API page tell people to type is typed here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.python.emulsion_client import Client
from tests.conftest import ROOT, Running, start_server

pytestmark = pytest.mark.slow
README = (ROOT / "README.md").read_text(encoding="utf-8")
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def block(text: str, language: str, holds: str) -> str:
    (found,) = (b for b in blocks(text, language) if holds in b)
    return found


def test_the_curl_call_queues_a_job(server: Running) -> None:
    if not shutil.which("curl"):
        pytest.skip("no curl on this machine")
    command = block(README, "sh", "curl").replace("http://127.0.0.1:8188", server.url)
    done = subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=300)
    answer = json.loads(done.stdout)
    assert answer["node_errors"] == {}
    with Client(server.url) as client:
        deadline = time.monotonic() + 120
        while not (entry := client._entry(answer["prompt_id"])) and time.monotonic() < deadline:
            time.sleep(0.2)
    assert entry is not None
    assert entry["status"]["status_str"] == "success"


@pytest.mark.parametrize(
    ("text", "holds", "prints"),
    [(README, "job = client.submit", r"step 20 of 20\npictures/Emulsion_\d+_\.png"), (API, "AsyncClient", r"a preview of \d+ bytes")],
    ids=["readme", "api"],
)
def test_the_python_examples_run(text: str, holds: str, prints: str, server: Running, tmp_path: Path) -> None:
    example = block(text, "python", holds).replace("http://127.0.0.1:8188", server.url)
    example = example.replace('"pictures"', repr(str(tmp_path / "pictures")))
    with Client(server.url) as client:
        client.address.json("POST", "/free", {"free_memory": True})  # others ran the same graph before
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.search(prints, done.stdout.replace(str(tmp_path) + "/", "")), done.stdout


@pytest.fixture(scope="module")
def with_example_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that has the node of the README, put where the README says."""
    home = tmp_path_factory.mktemp("example")
    packs = home / "custom_nodes"
    packs.mkdir()
    (packs / "tint.py").write_text(block(README, "python", '@node("Tint"'), encoding="utf-8")
    (home / "more.yaml").write_text(f"packs:\n    custom_nodes: {packs}\n")
    with start_server(home, "--cpu", "--extra-model-paths-config", str(home / "more.yaml")) as process:
        yield process.url


def test_the_example_node_is_offered_and_runs(with_example_node: str) -> None:
    with Client(with_example_node) as client:
        described = client.object_info()["Tint"]
        assert list(described["input"]["required"]) == ["image", "red", "green", "blue"]
        assert described["description"] == "Multiply each colour."
        graph = {
            "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 1, "color": 0xFFFFFF}},
            "2": {"class_type": "Tint", "inputs": {"image": ["1", 0], "red": 1.0, "green": 0.5, "blue": 0.0}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "tint"}},
        }
        (image,) = client.submit(graph).images(timeout=300)
        data = image.data()
    import io

    from PIL import Image

    red, green, blue = Image.open(io.BytesIO(data)).convert("RGB").getpixel((3, 3))
    assert (red, blue) == (255, 0)
    assert green in (127, 128)


PAGES = [
    "README.md",
    "SECURITY.md",
    "models/README.md",
    "custom_nodes/README.md",
    *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")),
]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    targets = re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


def test_every_make_target_the_readme_names_exists() -> None:
    named = set(re.findall(r"`?make ([a-z]+)", README)) - {"it"}
    offered = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert named <= offered, named - offered


def test_every_flag_the_readme_names_is_understood() -> None:
    from backend.base.config import parser

    known = {flag for action in parser()._actions for flag in action.option_strings} | {"--dev", "--set", "--server", "--help"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert named <= known, named - known
