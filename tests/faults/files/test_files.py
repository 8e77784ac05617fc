from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.wiretap import Server, node, running
from tests.faults.ask import SEEDS, ended, eventually, quick, still_works, worked

pytestmark = pytest.mark.slow


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def apng(frames: int) -> bytes:
    """A still of one pixel that claims, and has, very many frames."""
    pixel = zlib.compress(b"\0\0")
    parts = [
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        chunk(b"acTL", struct.pack(">II", frames, 0)),
    ]
    number = 0
    for n in range(frames):
        parts.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 1, 1, 0, 0, 1, 100, 0, 0)))
        number += 1
        if n == 0:
            parts.append(chunk(b"IDAT", pixel))
        else:
            parts.append(chunk(b"fdAT", struct.pack(">I", number) + pixel))
            number += 1
    return b"".join([*parts, chunk(b"IEND", b"")])


def text_bomb() -> bytes:
    """A small picture with a compressed text of a gigabyte."""
    out = io.BytesIO()
    Image.new("L", (4, 4)).save(out, "PNG")
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    whole = out.getvalue()
    return whole[:33] + chunk(b"zTXt", b"workflow\0\0" + packed) + whole[33:]


def load(name: str) -> dict[str, object]:
    return {"1": node("LoadImage", image=name), "2": node("PreviewImage", images=["1", 0])}


@pytest.mark.parametrize(("name", "make"), [("frames.png", lambda: apng(20_000)), ("text.png", text_bomb)])
def test_pictures_that_unfold_are_bounded(server: Server, name: str, make: object) -> None:
    assert callable(make)
    (server.home / "input" / name).write_bytes(make())
    before = worked(server)
    assert server.ask(f"/view?filename={name}&type=input&preview=webp").status in (200, 413, 422)
    id = server.submit(load(name))  # type: ignore[arg-type]
    assert server.ask("/queue").status == 200
    ended(server, id)
    assert server.ask("/workflow/convert", (server.home / "input" / name).read_bytes()).status in (200, 400, 413, 422)
    assert worked(server) - before < 20, "seconds of the processor, whoever else keeps it busy"
    still_works(server)


@pytest.mark.parametrize("name", ["CON.png", "nul", "a:ads", "dot.", "C:\\x", "\\\\host\\share", "com1/x", "a\0b"])
def test_names_that_mean_something_else_elsewhere_are_refused(server: Server, name: str) -> None:
    from urllib.parse import quote

    image = node("EmptyImage", width=8, height=8, batch_size=1, color=next(SEEDS) % 0xFFFFFF)
    if not name.endswith("."):  # a counter follows the prefix
        graph = {"1": image, "2": node("SaveImage", images=["1", 0], filename_prefix=name)}
        assert server.ask("/prompt", {"prompt": graph}).status == 400
    assert server.ask(f"/userdata/{quote(name, safe='')}", b"x").status in (400, 403)
    assert [p for p in (server.home / "user").rglob("*") if p.name.startswith(("CON", "nul", "a:", "dot", "C:", "com1"))] == []


def test_an_output_directory_that_vanishes_fails_that_job_alone(server: Server) -> None:
    output = server.home / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.write_bytes(b"a file where the directory should be")
    image = node("EmptyImage", width=8, height=8, batch_size=1, color=next(SEEDS) % 0xFFFFFF)
    id = server.submit({"1": image, "2": node("SaveImage", images=["1", 0], filename_prefix="x")})
    entry = ended(server, id)
    assert entry["status"]["status_str"] == "error"
    error = server.ask(f"/jobs/{id}").json()["error"]
    assert error
    assert "Traceback" not in error
    output.unlink()
    id = server.submit({"1": image, "2": node("SaveImage", images=["1", 0], filename_prefix="x")})
    assert ended(server, id)["status"]["completed"], "the directory is made again"


def test_a_file_may_bear_the_id_of_its_job(server: Server) -> None:
    graph = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=1),
        "2": node("SaveImage", images=["1", 0], filename_prefix="%job%/x"),
    }
    for id, folder in (("job-a", "job-a"), ("..b", "__b")):
        server.submit(graph, prompt_id=id)
        shown = ended(server, id)["outputs"]["2"]["images"][0]
        assert (shown["subfolder"], shown["filename"]) == (folder, "x_00001_.png")


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk takes root on Linux")
def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    user = tmp_path / "user" / "default"
    user.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(user)], capture_output=True).returncode:
        pytest.skip("this system does not let us mount a small disk")
    try:
        with running(tmp_path) as server:
            small, large = os.urandom(60_000), os.urandom(400_000)
            assert server.ask("/userdata/w.json", small).status == 200
            answer = server.ask("/userdata/w.json", large)
            assert answer.status == 507
            assert "space" in answer.json()["error"]["message"]
            assert server.ask("/userdata/w.json").body == small
            assert [p.name for p in user.iterdir()] == ["w.json"]
            eventually(lambda: server.ask("/health/ready").status == 200)
            assert ended(server, server.submit(quick()))["status"]["completed"]
    finally:
        subprocess.run(["umount", str(user)], capture_output=True)
