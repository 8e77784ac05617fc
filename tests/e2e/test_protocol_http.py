"""Routes, bad input and foreign pages, over real sockets."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import itertools
import json
import socket as sockets
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.wiretap import PATIENCE_S, Answer, Json, Server, node, running
from tests.storage.test_files import bomb

pytestmark = pytest.mark.slow
SEEDS = itertools.count(5_000_000)
GOOD: Json = {"1": node("TestShow", a=1)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("http"), "--hang-timeout", "20") as one:
        yield one


def host(server: Server) -> str:
    return server.url.removeprefix("http://")


def upload(server: Server, name: str, content: bytes, route: str = "/upload/image", **fields: str) -> Answer:
    edge = uuid.uuid4().hex
    escaped = name.replace("\\", "\\\\")
    parts = [f'--{edge}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="{escaped}"\r\nContent-Type: image/png\r\n\r\n'.encode()
    body = b"".join(parts) + head + content + f"\r\n--{edge}--\r\n".encode()
    return server.ask(route, body, headers={"Content-Type": f"multipart/form-data; boundary={edge}"})


def png(size: tuple[int, int] = (8, 8), colour: Any = "red", mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    "path",
    [
        "/prompt",
        "/queue",
        "/history",
        "/history/unknown",
        "/object_info",
        "/object_info/Unknown",
        "/system_stats",
        "/features",
        "/embeddings",
        "/models",
        "/models/loras",
        "/experiment/models",
        "/experiment/models/loras",
        "/extensions",
        "/users",
        "/settings",
        "/settings/unknown",
        "/i18n",
        "/workflow_templates",
        "/v2/userdata",
        "/health/live",
        "/health/ready",
        "/memory",
        "/",
    ],
)
def test_routes_answer_with_and_without_api(server: Server, path: str) -> None:
    assert server.ask(path).status == 200
    if path != "/":
        assert server.ask("/api" + path).status == 200
    assert server.ask(path, method="HEAD").status == 200


@pytest.mark.parametrize("path", ["/global_subgraphs", "/node_replacements", "/assets", "/models/unet", "/models/clip", "/nothing.js"])
def test_absent_routes_are_404(server: Server, path: str) -> None:
    assert server.ask(path).status == 404


def test_wrong_verb_is_405(server: Server) -> None:
    assert server.ask("/interrupt").status == 405
    assert server.ask("/queue", method="DELETE").status == 405


def test_published_forms(server: Server) -> None:
    assert server.ask("/features").json() == {"supports_preview_metadata": True, "max_upload_size": 104857600}
    assert server.ask("/history/unknown").json() == {}
    assert server.ask("/object_info/Unknown").json() == {}
    assert server.ask("/settings/unknown").json() is None
    stats = server.ask("/system_stats").json()
    assert stats["system"]["comfyui_version"] == "0.3.64"
    (device,) = stats["devices"]
    assert (device["name"], device["type"], device["index"]) == ("cpu", "cpu", None)
    assert device["vram_total"] > 0
    info = server.ask("/object_info/TestAdd").json()["TestAdd"]
    assert (info["display_name"], info["python_module"]) == ("Add (test)", "custom_nodes.testpack")
    assert info["input_order"] == {"required": ["a", "b"]}


def test_object_info_is_zipped_and_tagged(server: Server) -> None:
    plain = server.ask("/object_info")
    zipped = server.ask("/object_info", headers={"Accept-Encoding": "gzip"})
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == plain.body
    tag = plain.headers["ETag"]
    assert server.ask("/object_info", headers={"If-None-Match": tag}).status == 304
    (server.home / "models" / "loras").mkdir(parents=True, exist_ok=True)
    (server.home / "models" / "loras" / f"{uuid.uuid4()}.safetensors").write_bytes(b"")
    assert server.ask("/object_info", headers={"If-None-Match": tag}).status == 200


def test_pack_files(server: Server) -> None:
    assert "/extensions/testpack/test.js" in server.ask("/extensions").json()
    script = server.ask("/extensions/testpack/test.js")
    assert script.body.startswith(b"export const")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert script.headers["Cache-Control"] == "no-cache"
    assert server.ask("/i18n").json() == {"en": {"g": {"hello": "Hello"}, "nodeDefs": {"A": {"display_name": "A"}}}}
    assert server.ask("/workflow_templates").json() == {"testpack": ["first"]}
    assert server.ask("/api/workflow_templates/testpack/first.json").json() == {"nodes": []}
    assert server.ask("/extensions/testpack/../__init__.py").status == 404
    assert server.ask("/extensions/testpack/%2e%2e/__init__.py").status == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"\xff\xfe",
        b'{"prompt":[1]}',
        b'{"prompt":"x"}',
        b'{"prompt":{"1":null}}',
        b'{"prompt":null}',
        b'{"prompt":{},"prompt":{}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"prompt":{"1":{"class_type":"TestShow","inputs":{"a":NaN}}}}',
        b'{"prompt":{"1":{"class_type":"TestShow","inputs":{"a":1e999}}}}',
        b'{"prompt":{"1":{"class_type":"TestShow","inputs":5}}}',
        b'{"prompt":{"1":{"class_type":7,"inputs":{}}}}',
        b'{"prompt":{"a\\u0000b":{"class_type":"TestShow","inputs":{"a":1}}}}',
        b'{"prompt":{"' + b"x" * 1_000_000 + b'":{"class_type":"TestShow","inputs":{"a":1}}}}',
        b'{"prompt":{"1":{"class_type":"TestShow","inputs":{"a":1' + b"0" * 400 + b"}}}}",
        b'{"prompt":{"1":{"class_type":"TestShow","inputs":{"a":1' + b"0" * 9000 + b"}}}}",
        b'{"prompt":{"1":{"class_type":"TestShow","inputs":{"a":{"b":1}}}}}',
        b'{"prompt":{"1":{"class_type":"TestShow","inputs":{"a":["1",0]}}}}',
        b'{"prompt":{"1":{"class_type":"TestShow","inputs":{"a":["9",0]}}}}',
        b'{"prompt":{"1":{"class_type":"TestShow","inputs":{"a":["1",-1]}}}}',
        b'{"prompt":{"1":{"class_type":"TestShow","inputs":{"a":[1,0]}}}}',
        b'{"prompt":{"1":{"class_type":"Unknown","inputs":{}}}}',
        b'{"prompt":{"1":{"class_type":"TestAdd","inputs":{"a":1,"b":1}}}}',
        b'{"prompt":{}}',
        b'{"nothing":1}',
        b'{"prompt":{"1":"\\ud800"}}',
    ],
)
def test_bad_prompts_are_typed_400s(server: Server, body: bytes) -> None:
    before = server.ask("/queue").json()
    answer = server.ask("/prompt", body)
    assert answer.status == 400, answer.body[:300]
    error = answer.json()["error"]
    assert set(error) >= {"type", "message", "details", "extra_info"}
    assert error["message"]
    assert isinstance(answer.json()["node_errors"], dict)
    assert server.ask("/queue").json() == before


@pytest.mark.parametrize(
    "more",
    [
        {"number": "abc"},
        {"number": True},
        {"number": 1e300},
        {"number": [1]},
        {"prompt_id": ""},
        {"prompt_id": {"a": 1}},
        {"prompt_id": "x" * 1000},
        {"prompt_id": "a\0b"},
        {"extra_data": 5},
        {"extra_data": []},
        {"partial_execution_targets": "1"},
        {"partial_execution_targets": [1]},
        {"partial_execution_targets": ["unknown"]},
    ],
)
def test_bad_fields_beside_the_prompt(server: Server, more: Json) -> None:
    answer = server.ask("/prompt", {"prompt": GOOD, **more})
    assert answer.status == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/interrupt", b"[]"),
        ("/interrupt", b"{"),
        ("/interrupt", b'{"prompt_id":5}'),
        ("/queue", b'{"delete":5}'),
        ("/queue", b'{"delete":[5]}'),
        ("/queue", b""),
        ("/history", b"x"),
        ("/history", b'{"delete":"a"}'),
        ("/free", b"x"),
        ("/free", b""),
        ("/free", b"[]"),
        ("/settings", b"[]"),
        ("/settings", b"{"),
        ("/users", b"{}"),
        ("/settings/a", b""),
    ],
)
def test_bad_bodies_elsewhere(server: Server, path: str, body: bytes) -> None:
    answer = server.ask(path, body)
    assert answer.status == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("query", ["max_items=abc", "offset=x", "max_items=1e5", "max_items=" + "9" * 50])
def test_bad_queries(server: Server, query: str) -> None:
    assert server.ask(f"/history?{query}").status == 400


def test_body_over_the_limit_is_413(server: Server) -> None:
    connection = http.client.HTTPConnection(host(server), timeout=60)
    connection.putrequest("POST", "/prompt")
    connection.putheader("Content-Length", str(101 << 20))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_what_cannot_fit_is_refused_at_submit(server: Server) -> None:
    size = {"width": 16384, "height": 16384, "batch_size": 4096}
    graph = {"1": node("EmptyImage", color=0, **size), "2": node("PreviewImage", images=["1", 0])}
    answer = server.ask("/prompt", {"prompt": graph})
    assert answer.status == 400
    assert "12,288.0 GiB" in answer.json()["error"]["message"]
    for extreme in ({**size, "width": 100_000}, {**size, "batch_size": 10**9}):
        graph["1"] = node("EmptyImage", color=0, **extreme)
        assert server.ask("/prompt", {"prompt": graph}).status == 400


def test_good_outputs_run_beside_bad_ones(server: Server) -> None:
    graph = {"1": node("TestShow", a=next(SEEDS)), "2": node("TestShow"), "3": node("TestShow", a="no number")}
    answer = server.ask("/prompt", {"prompt": graph})
    assert answer.status == 200
    errors = answer.json()["node_errors"]
    assert sorted(errors) == ["2", "3"]
    assert errors["2"] == {
        "class_type": "TestShow",
        "dependent_outputs": ["2"],
        "errors": [
            {
                "type": "required_input_missing",
                "message": "Required input is missing",
                "details": "a",
                "extra_info": {"input_name": "a", "hint": "Give it a value, or connect it."},
            }
        ],
    }


def test_ids_of_clients_are_kept_and_unique(server: Server) -> None:
    id = uuid.uuid4().hex
    assert server.ask("/prompt", {"prompt": GOOD, "prompt_id": id}).json()["prompt_id"] == id
    assert server.ask("/prompt", {"prompt": GOOD, "prompt_id": id}).status == 409
    wait_for(server, id)
    assert server.ask("/prompt", {"prompt": GOOD, "prompt_id": id}).status == 409
    assert server.ask("/prompt", {"prompt": GOOD, "prompt_id": None}).json()["prompt_id"] == "None"
    wait_for(server, "None")
    assert server.ask("/prompt", {"prompt": GOOD, "prompt_id": None}).status == 200


def wait_for(server: Server, id: str) -> Json:
    deadline = time.monotonic() + PATIENCE_S
    while not (entry := server.history(id)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return entry


def test_equal_numbers_and_ids_while_busy(server: Server) -> None:
    busy = server.submit({"1": node("TestSleep", seconds=30, deaf=False, seed=next(SEEDS)), "2": node("TestSink", a=["1", 0])})
    id = uuid.uuid4().hex
    statuses = [server.ask("/prompt", {"prompt": GOOD, "prompt_id": id, "number": 5}).status for _ in range(6)]
    assert statuses == [200] + [409] * 5
    later = server.submit({"1": node("TestShow", a=next(SEEDS))})
    server.ask("/interrupt", {"prompt_id": busy})
    assert wait_for(server, later)["status"]["completed"]
    assert wait_for(server, id)["status"]["completed"]


def test_counter_counts_rejected_prompts(server: Server) -> None:
    first = server.ask("/prompt", {"prompt": GOOD}).json()["number"]
    server.ask("/prompt", {"prompt": {}})
    server.ask("/prompt", {"prompt": GOOD, "number": 3})
    assert server.ask("/prompt", {"prompt": GOOD}).json()["number"] == first + 2


def test_foreign_pages_are_refused(server: Server) -> None:
    own = f"http://{host(server)}"
    body = {"prompt": GOOD}
    for headers, status in (
        ({}, 200),
        ({"Origin": own}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"http://evil.example:{host(server).split(':')[1]}", "Host": f"evil.example:{host(server).split(':')[1]}"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": own}, 200),
        ({"Content-Type": "text/plain", "Origin": "http://evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "text/plain", "Origin": own}, 200),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 200),
        ({"Content-Type": "application/x-www-form-urlencoded", "Origin": own}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 415),
    ):
        assert server.ask("/prompt", body, headers=headers).status == status, headers
    assert server.ask("/prompt", method="OPTIONS", headers={"Origin": "http://evil.example"}).status == 200
    assert server.ask("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).status != 403


@pytest.mark.parametrize(("origin", "status"), [("http://evil.example", 403), ("null", 403), (None, 101)])
def test_foreign_pages_get_no_socket(server: Server, origin: str | None, status: int) -> None:
    connection = http.client.HTTPConnection(host(server), timeout=20)
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    connection.request("GET", "/ws", headers=headers | ({"Origin": origin} if origin else {}))
    with connection.getresponse() as reply:
        assert reply.status == status
    connection.close()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("filename=a.png&type=input", 200),
        ("filename=a.png%20[input]", 200),
        ("filename=a.png", 404),
        ("", 404),
        ("filename=nothing.png", 404),
        ("filename=../a.png", 400),
        ("filename=/etc/passwd", 400),
        ("filename=..%2f..%2fetc/passwd", 400),
        ("filename=..%5c..%5ca", 400),
        ("filename=passwd&subfolder=/etc", 403),
        ("filename=a.png&subfolder=../", 403),
        ("filename=a.png&type=evil", 400),
        ("filename=%00", 400),
        ("filename=" + "x" * 5000, 400),
        ("filename=link&type=input", 403),
        ("filename=linked/passwd&type=input", 403),
        ("filename=a.png&type=input&preview=webp;10000000000000000000000", 400),
        ("filename=a.png&type=input&preview=webp;75", 200),
        ("filename=a.png&type=input&preview=jpeg", 200),
        ("filename=a.png&type=input&preview=strange", 200),
        ("filename=a.png&type=input&channel=rgb", 200),
        ("filename=a.png&type=input&channel=a", 200),
        ("filename=bomb.png&type=input&preview=webp;75", 413),
        ("filename=text.png&type=input&preview=webp", 422),
    ],
)
def test_view(server: Server, query: str, status: int) -> None:
    folder = server.home / "input"
    if not (folder / "a.png").exists():
        (folder / "a.png").write_bytes(png(mode="RGBA", colour=(1, 2, 3, 4)))
        (folder / "bomb.png").write_bytes(bomb(13000, 13000))
        (folder / "text.png").write_bytes(b"no picture")
        (folder / "link").symlink_to("/etc/passwd")
        (folder / "linked").symlink_to("/etc")
    answer = server.ask(f"/view?{query}")
    assert answer.status == status, answer.body[:300]
    assert b"root:" not in answer.body
    if status == 200:
        assert 'filename="a.png"' in answer.headers["Content-Disposition"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Type"].startswith("image/")


def test_view_ranges(server: Server) -> None:
    (server.home / "output").mkdir(exist_ok=True)
    content = png((64, 64))
    (server.home / "output" / "r.png").write_bytes(content)
    part = server.ask("/view?filename=r.png", headers={"Range": "bytes=1-3"})
    assert (part.status, part.body) == (206, b"PNG")
    whole = server.ask("/view?filename=r.png")
    assert whole.body == content
    assert server.ask("/view?filename=r.png", headers={"If-None-Match": whole.headers["ETag"]}).status == 304


@pytest.mark.parametrize("name", ["x.html", "x.svg", "x.xml", "x.js", "x.xhtml", "polyglot.png"])
def test_active_content_is_never_inline(server: Server, name: str) -> None:
    script = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    assert upload(server, name, script, overwrite="true").status == 200
    answer = server.ask(f"/view?filename={name}&type=input")
    kind = answer.headers["Content-Type"]
    assert kind == "application/octet-stream" or (kind == "image/svg+xml" and "attachment" in answer.headers["Content-Disposition"])
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_uploads_of_the_same_name(server: Server) -> None:
    name = f"{uuid.uuid4().hex}.png"
    red, blue = png(colour="red"), png(colour="blue")
    assert upload(server, name, red).json() == {"name": name, "subfolder": "", "type": "input"}
    assert upload(server, name, red).json()["name"] == name
    assert upload(server, name, blue).json()["name"] == name.replace(".png", " (1).png")
    assert upload(server, name, blue).json()["name"] == name.replace(".png", " (1).png")
    assert upload(server, name, png(colour="green")).json()["name"] == name.replace(".png", " (2).png")
    assert upload(server, name, blue, overwrite="true").json()["name"] == name
    assert (server.home / "input" / name).read_bytes() == blue
    assert upload(server, name, red, subfolder="a/b").json() == {"name": name, "subfolder": "a/b", "type": "input"}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("../../x.png", {}),
        ("x.png", {"subfolder": "../.."}),
        ("x.png", {"subfolder": "/etc"}),
        ("a\\..\\..\\x.png", {}),
        ("x" * 300 + ".png", {}),
        ("x.png", {"type": "evil"}),
        ("CON.png", {}),
        ("a:ads", {}),
        ("dot.", {}),
        ("C:\\x", {}),
        ("\\\\h\\s", {}),
        ("", {}),
    ],
)
def test_bad_uploads(server: Server, name: str, fields: dict[str, str]) -> None:
    before = sorted(p for p in server.home.rglob("*") if p.suffix == ".png")
    answer = upload(server, name, b"x", **fields)
    assert answer.status == 400, answer.body
    assert sorted(p for p in server.home.rglob("*") if p.suffix == ".png") == before


def test_upload_without_file_or_form(server: Server) -> None:
    assert server.ask("/upload/image", b"x", headers={"Content-Type": "multipart/form-data; boundary=e"}).status == 400
    assert server.ask("/upload/image", {"image": "x"}).status == 400
    assert server.ask("/upload/image", b"--e--\r\n", headers={"Content-Type": "multipart/form-data; boundary=e"}).status == 400


def test_upload_that_is_aborted_leaves_nothing(server: Server) -> None:
    before = sorted((server.home / "input").rglob("*"))
    name, port = host(server).split(":")
    head = 'Content-Disposition: form-data; name="image"; filename="aborted.png"'
    with sockets.create_connection((name, int(port))) as connection:
        text = f"POST /upload/image HTTP/1.1\r\nHost: {host(server)}\r\nContent-Type: multipart/form-data; boundary=e\r\n"
        connection.sendall(f"{text}Content-Length: 100000\r\n\r\n--e\r\n{head}\r\n\r\nhalf".encode())
    time.sleep(0.3)
    assert sorted((server.home / "input").rglob("*")) == before


def test_mask(server: Server) -> None:
    texts = io.BytesIO()
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("workflow", "{}")
    Image.new("RGB", (4, 4), (10, 20, 30)).save(texts, "PNG", pnginfo=info)
    (server.home / "input" / "base.png").write_bytes(texts.getvalue())
    ref = json.dumps({"filename": "base.png", "subfolder": "", "type": "input"})
    answer = upload(server, "masked.png", png((4, 4), (0, 0, 0, 77), "RGBA"), "/upload/mask", original_ref=ref)
    assert answer.json() == {"name": "masked.png", "subfolder": "", "type": "input"}
    with Image.open(server.home / "input" / "masked.png") as image:
        assert image.getpixel((0, 0)) == (10, 20, 30, 77)
        assert image.text == {"workflow": "{}"}  # type: ignore[attr-defined]
    assert upload(server, "m.png", png(), "/upload/mask", original_ref="{").status == 400
    assert upload(server, "m.png", png(), "/upload/mask").status == 400
    assert upload(server, "m.png", b"no picture", "/upload/mask", original_ref=ref).status == 400


def test_userdata(server: Server) -> None:
    url = "/userdata/workflows%2Fa.json"
    assert server.ask(url).status == 404
    assert server.ask(url, b'{"a":1}').json() == "workflows/a.json"
    assert server.ask(url).json() == {"a": 1}
    assert server.ask(f"{url}?overwrite=false", b"2").status == 409
    info = server.ask(f"{url}?full_info=true", b"22").json()
    assert (info["path"], info["size"]) == ("workflows/a.json", 2)
    assert server.ask("/userdata?dir=workflows").json() == ["a.json"]
    assert server.ask("/userdata?dir=workflows&split=true").json() == [["a.json", "a.json"]]
    assert server.ask("/userdata?dir=workflows&full_info=true&recurse=true").json()[0]["size"] == 2
    assert server.ask("/userdata").status == 400
    assert server.ask("/userdata?dir=nothing").status == 404
    assert server.ask("/userdata?dir=..").status == 403
    assert server.ask(f"{url}/move/workflows%2Fb.json", b"").json() == "workflows/b.json"
    assert server.ask("/v2/userdata?path=workflows").json()[0]["path"] == "workflows/b.json"
    assert server.ask("/userdata/workflows%2Fb.json", method="DELETE").status == 204
    assert server.ask("/userdata/workflows%2Fb.json", method="DELETE").status == 404
    for name in ("..%2Femulsion.db", "..%2F..%2Fx", "%2Fetc%2Fpasswd"):
        assert server.ask(f"/userdata/{name}").status == 403
        assert server.ask(f"/userdata/{name}", b"x").status == 403
    assert server.ask("/userdata/x.html", b"<script>").status == 200
    assert server.ask("/userdata/x.html").headers["Content-Type"] == "application/octet-stream"


def test_settings_survive(server: Server) -> None:
    assert server.ask("/settings", {"a.b": 1, "c": [True]}).status == 200
    assert server.ask("/settings/a.b", b'{"x": null}').status == 200
    assert server.ask("/settings").json() == {"a.b": {"x": None}, "c": [True]}
    assert server.ask("/settings/c").json() == [True]


def test_internal(server: Server) -> None:
    assert "loras" in server.ask("/internal/folder_paths").json()
    assert server.ask("/internal/files/evil").status == 400
    (server.home / "output" / "sub").mkdir(parents=True, exist_ok=True)
    for age, name in enumerate(("old.png", "new.png")):
        (server.home / "output" / name).write_bytes(b"")
        import os

        os.utime(server.home / "output" / name, (2_000_000_000 + age, 2_000_000_000 + age))
    assert server.ask("/internal/files/output").json()[:2] == ["new.png", "old.png"]
    assert server.ask("/api/internal/folder_paths").status == 404


def test_model_files(server: Server) -> None:
    folder = server.home / "models" / "vae"
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    header = json.dumps({"__metadata__": {"title": "x"}}).encode()
    (folder / "sub" / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (folder / "sub" / "m.png").write_bytes(png())
    (folder / "broken.safetensors").write_bytes(b"\xff" * 20)
    assert server.ask("/models/vae").json() == ["broken.safetensors", "sub/m.safetensors"]
    files = server.ask("/experiment/models/vae").json()
    assert [set(f) for f in files] == [{"name", "pathIndex", "modified", "created", "size"}] * 2
    assert [f["cover"] for f in server.ask("/experiment/models/vae?covers=1").json()] == [False, True]
    assert server.ask("/view_metadata/vae?filename=sub/m.safetensors").json() == {"title": "x"}
    user = server.home / "user" / "default" / "workflows"
    user.mkdir(parents=True, exist_ok=True)
    (user / "uses.json").write_text(json.dumps({"nodes": [{"widgets_values": ["sub/m.safetensors"]}]}))
    about = server.ask("/models/vae/about?name=sub/m.safetensors").json()
    assert about["metadata"] == {"title": "x"} and about["workflows"] == ["uses.json"] and about["sha256"] is None
    digest = hashlib.sha256((folder / "sub" / "m.safetensors").read_bytes()).hexdigest()
    assert server.ask("/models/vae/about?name=sub/m.safetensors&hash=1").json()["sha256"] == digest
    assert server.ask("/models/vae/about?name=sub/m.safetensors").json()["sha256"] == digest, "it is remembered"
    for bad in ("vae/about?name=nothing", "vae/about?name=../x", "nothing/about?name=m"):
        assert server.ask(f"/models/{bad}").status in (400, 403, 404)
    for bad in ("broken.safetensors", "nothing.safetensors", "../../x.safetensors", "sub/m.png"):
        assert server.ask(f"/view_metadata/vae?filename={bad}").status == 404
    cover = server.ask("/experiment/models/preview/vae/0/sub/m.safetensors")
    assert cover.headers["Content-Type"] == "image/webp"
    for bad in ("vae/0/..%2f..%2fx", "vae/9/m", "vae/-1/m", "vae/x/m", "nothing/0/m", "vae/0/broken.safetensors"):
        assert server.ask(f"/experiment/models/preview/{bad}").status == 404


def test_silent_clients_harm_nobody(server: Server) -> None:
    name, port = host(server).split(":")
    silent = [sockets.create_connection((name, int(port))) for _ in range(50)]
    for connection in silent:
        connection.sendall(b"POST /prompt HTTP/1.1\r\nHost: x\r\nContent-Le")
    assert server.ask("/queue").status == 200
    for connection in silent:
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):  # the server waits for them still: the answer did not wait for their end
            connection.recv(1)
        connection.close()


@pytest.mark.parametrize(("kind", "payload"), [(1, b"\xff\xfe"), (1, b"x" * (5 << 20)), (2, b"\0" * 100)])
def test_bad_frames_harm_only_their_socket(server: Server, kind: int, payload: bytes) -> None:
    other = server.socket("unharmed")
    other.next()
    socket = server.socket("bad")
    from contextlib import suppress

    with suppress(Exception):
        socket.connection.send(payload, text=kind == 1)
        socket.connection.recv(timeout=0.5)
    socket.close()
    id = server.submit({"1": node("TestShow", a=next(SEEDS))}, "unharmed")
    assert other.run(id)
    other.close()


def test_free(server: Server) -> None:
    socket = server.socket("free")
    graph = {"1": node("TestShow", a=next(SEEDS))}
    socket.run(server.submit(graph, "free"))
    assert server.ask("/free", {"unload_models": True}).status == 200
    frames = socket.run(server.submit(graph, "free"))
    assert [f["data"]["nodes"] for f in frames if f["type"] == "execution_cached"] == [["1"]]
    assert server.ask("/free", {"free_memory": True}).status == 200
    frames = socket.run(server.submit(graph, "free"))
    assert [f["data"]["nodes"] for f in frames if f["type"] == "execution_cached"] == [[]]
    socket.close()


def test_every_route_answers_while_a_node_computes(server: Server) -> None:
    socket = server.socket("busy")
    id = server.submit({"1": node("TestSleep", seconds=60, deaf=False, seed=next(SEEDS)), "2": node("TestSink", a=["1", 0])}, "busy")
    socket.until(lambda f: f["type"] == "progress")
    for _ in range(5):
        for path in (
            "/queue",
            "/prompt",
            "/system_stats",
            "/object_info",
            "/history?max_items=5",
            "/features",
            "/models/loras",
            "/health/ready",
        ):
            assert server.ask(path).status == 200
    assert [i[1] for i in server.ask("/queue").json()["queue_running"]] == [id], "no answer waited for the node"
    server.ask("/interrupt", {"prompt_id": id})
    socket.run(id)
    socket.close()


def test_cors_header_replaces_the_guard(tmp_path: Path) -> None:
    with running(tmp_path, "--enable-cors-header", "http://friend.example", "--token", "let-me-in") as other:
        assert other.ask("/features").status == 401
        answer = other.ask("/features", headers={"Origin": "http://friend.example", "Authorization": "Bearer let-me-in"})
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "http://friend.example"
        assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
        assert other.ask("/features?token=let-me-in").status == 200
        assert other.ask("/features?token=no").status == 401


def test_a_file_that_changed_meanwhile_is_not_overwritten(server: Server) -> None:
    def put(text: str, **headers: str) -> Answer:
        given = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return server.ask("/userdata/workflows%2Fshared.json", text.encode(), headers=given)

    first = put("1", If_None_Match="*")
    assert first.status == 200
    assert put("2", If_None_Match="*").status == 412
    read = server.ask("/userdata/workflows%2Fshared.json")
    assert read.headers["ETag"] == first.headers["ETag"]
    second = put("22", If_Match=read.headers["ETag"])
    assert second.status == 200
    stale = put("3", If_Match=read.headers["ETag"])
    assert stale.status == 412
    assert "changed" in stale.json()["error"]["message"]
    assert server.ask("/userdata/workflows%2Fshared.json").body == b"22"
    assert put("4").status == 200, "who does not ask for it overwrites as ever"
