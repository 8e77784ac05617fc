"""The main job through the front door: a graph over HTTP becomes a picture, and the command line does the same."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clients.python.emulsion_client import AsyncClient, Client, JobCancelled, Refused
from tests.conftest import ROOT, Running
from tests.tiny.judge import judge

pytestmark = pytest.mark.slow
Graph = dict[str, Any]


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def seeded(graph: Graph, seed: int, **inputs: Any) -> Graph:
    changed = deepcopy(graph)
    changed["5"]["inputs"] |= {"seed": seed, **inputs}
    return changed


@pytest.fixture(scope="module")
def picture(server: Running, default_graph: Graph) -> bytes:
    """What the default graph gives."""
    with Client(server.url) as client:
        client.address.json("POST", "/free", {"free_memory": True})  # somebody may have run it before
        job = client.submit(default_graph, extra_data={"extra_pnginfo": {"workflow": {"note": "ä"}}})
        events = list(job.events(timeout=300))
        entry = job.wait()
        (image,) = job.images()
    kinds = [event.type for event in events]
    assert kinds[0] == "execution_start"
    assert kinds[-1] == "executing"
    assert kinds.count("progress") == default_graph["5"]["inputs"]["steps"]
    assert "preview" in kinds, "pictures are shown while they form"
    assert entry["status"]["completed"] is True
    assert (server.home / "output" / image.filename).read_bytes() == image.data()
    return image.data()


def test_the_picture_is_what_was_asked_for(picture: bytes, default_graph: Graph) -> None:
    image = Image.open(io.BytesIO(picture))
    assert (image.format, image.size, image.mode) == ("PNG", (128, 128), "RGB")
    (seen, *_) = judge(pixels(picture))
    prompt = default_graph["2"]["inputs"]["text"].split()
    assert {seen.colour, seen.shape} <= set(prompt), f"{seen} is not {' '.join(prompt)}"


def test_the_picture_carries_its_graph(picture: bytes, default_graph: Graph) -> None:
    texts = Image.open(io.BytesIO(picture)).text  # type: ignore[attr-defined]
    assert json.loads(texts["prompt"]) == default_graph
    assert json.loads(texts["workflow"]) == {"note": "ä"}
    assert texts["workflow"].isascii()


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(server: Running, default_graph: Graph, picture: bytes) -> None:
    with Client(server.url) as client:
        client.address.json("POST", "/free", {"unload_models": True, "free_memory": True})
        (again,) = client.submit(default_graph).images(timeout=300)
        (other,) = client.submit(seeded(default_graph, 4242)).images(timeout=300)
        assert np.array_equal(pixels(again.data()), pixels(picture))
        assert not np.array_equal(pixels(other.data()), pixels(picture))


def test_a_picture_goes_there_and_back_through_the_codec(server: Running, default_graph: Graph, tmp_path: Path) -> None:
    drawn = np.full((128, 128, 3), (40, 60, 200), np.uint8)
    drawn[32:96, 40:88] = (220, 40, 40)
    Image.fromarray(drawn).save(tmp_path / "sent.png")
    with Client(server.url) as client:
        name = client.upload(tmp_path / "sent.png")
        graph = {
            "1": default_graph["1"],
            "2": {"class_type": "LoadImage", "inputs": {"image": name}},
            "3": {"class_type": "VAEEncode", "inputs": {"pixels": ["2", 0], "vae": ["1", 2]}},
            "4": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["1", 2]}},
            "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "round/trip"}},
        }
        (image,) = client.submit(graph).images(timeout=300)
    assert (image.subfolder, image.filename) == ("round", "trip_00001_.png")
    error = np.abs(pixels(image.data()).astype(float) - drawn.astype(float)).mean()
    assert error < 12, f"mean error of {error:.1f} of 255 after encoding and decoding"


async def test_a_running_job_is_cancelled_within_a_step(server: Running, default_graph: Graph) -> None:
    async with AsyncClient(server.url) as client:
        job = await client.submit(seeded(default_graph, 7, steps=2000))
        async for event in job.events():
            if event.type == "progress" and event.data["value"] >= 3:
                await job.cancel()
                break
        with pytest.raises(JobCancelled):
            await job.wait()
        queue = await client.queue()
        assert queue["queue_running"] == []


def test_a_wrong_graph_is_refused_in_sentences(server: Running, default_graph: Graph) -> None:
    with Client(server.url) as client, pytest.raises(Refused) as caught:
        client.submit(seeded(default_graph, 1, steps=0, sampler_name="nobody"))
    assert caught.value.status == 400
    found = {error["type"] for error in caught.value.node_errors["5"]["errors"]}
    assert found == {"value_smaller_than_min", "value_not_in_list"}
    assert "steps" in str(caught.value)


def command(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(ROOT / "main.py"), *words], capture_output=True, text=True, timeout=300, cwd=cwd)


def test_run_starts_a_server_of_its_own(tmp_path: Path, picture: bytes) -> None:
    graph = str(ROOT / "web/default_graph.json")
    done = command("run", graph, "-o", "pictures", "--set", "save.filename_prefix=mine", "--cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["pictures/mine_00001_.png"]
    assert np.array_equal(pixels((tmp_path / "pictures/mine_00001_.png").read_bytes()), pixels(picture))
    assert "Sampler" in done.stderr


def test_run_uses_a_running_server(server: Running, tmp_path: Path) -> None:
    where = ("run", "web/default_graph.json", "--server", server.url, "-o", str(tmp_path))
    done = command(*where, "--set", "Sampler.seed=11", "--set", "5.steps=4", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert pixels(Path(done.stdout.strip()).read_bytes()).shape == (128, 128, 3)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("run", "no-such-file.json"), 2, "There is no file no-such-file.json"),
        (("run", "README.md"), 2, "is not JSON"),
        (("run", "web/default_graph.json", "--server", "http://127.0.0.1:9"), 3, "No server answers"),
        (("nonsense",), 2, "no command 'nonsense'"),
        (("serve", "--port", "many"), 2, "--port"),
    ],
)
def test_a_wrong_command_line_ends_with_a_sentence(words: tuple[str, ...], status: int, says: str) -> None:
    done = command(*words)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_takes_its_server_along(told: signal.Signals, tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "main.py"), "run", str(ROOT / "web/default_graph.json"), "--set", "5.steps=5000", "--cpu"]
    process = subprocess.Popen([*words, "-o", str(tmp_path)], stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    with process.stderr:
        while process.stderr.readline().strip() != "Sampler":
            assert process.poll() is None
        children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        process.send_signal(told)
        said = process.stderr.read()
    assert process.wait(30) == (-told if told == signal.SIGKILL else 130)
    assert told == signal.SIGKILL or "Cancelled" in said
    assert "Traceback" not in said
    deadline = time.monotonic() + 20
    while left := [pid for pid in children if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"{left} still there"
        time.sleep(0.1)
    assert children


def test_run_tells_which_node_failed(server: Running, default_graph: Graph, tmp_path: Path) -> None:
    (server.home / "input" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing follows")
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "broken.png"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    (tmp_path / "graph.json").write_text(json.dumps({"prompt": graph}))
    done = command("run", str(tmp_path / "graph.json"), "--server", server.url)
    assert done.returncode == 1
    assert "node 1 (LoadImage)" in done.stderr
    assert "broken.png" in done.stderr


def test_doctor_runs_the_model_that_ships() -> None:
    done = command("doctor", "--cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("Python", "torch", "cpu", "checkpoints", "emulsion-tiny.safetensors"):
        assert word in done.stdout


def test_quick_test_starts_everything_and_ends(tmp_path: Path) -> None:
    done = command("--quick-test-for-ci", "--cpu", "--port", "0", "--user-directory", str(tmp_path))
    assert done.returncode == 0, done.stderr
