"""The parts of the client that need no server: frames, refusals, histories, uploads."""

from __future__ import annotations

import json
import struct
from email import message_from_bytes
from pathlib import Path

import pytest

from clients.python.emulsion_client import (
    Address,
    Client,
    JobCancelled,
    JobFailed,
    Refused,
    Unreachable,
    form,
    images_of,
    judge,
    read_frame,
)


def test_json_frames_bear_type_data_and_maybe_a_number() -> None:
    event, number = read_frame('{"type": "progress", "data": {"value": 1, "prompt_id": "a"}, "seq": 7}')
    assert event is not None
    assert (event.type, event.job, number, event.ends) == ("progress", "a", 7, False)
    event, number = read_frame('{"type": "executing", "data": {"node": null, "prompt_id": "a"}}')
    assert event is not None
    assert (number, event.ends) == (None, True)


@pytest.mark.parametrize(("form", "kind"), [(1, "image/jpeg"), (2, "image/png")])
def test_legacy_preview_frames(form: int, kind: str) -> None:
    event, _ = read_frame(struct.pack(">II", 1, form) + b"pixels")
    assert event is not None
    assert (event.type, event.image, event.data["image_type"], event.job) == ("preview", b"pixels", kind, None)


def test_preview_frames_with_metadata_name_their_job() -> None:
    about = json.dumps({"prompt_id": "a", "node_id": "5", "image_type": "image/png"}).encode()
    event, _ = read_frame(struct.pack(">II", 4, len(about)) + about + b"pixels")
    assert event is not None
    assert (event.job, event.data["node_id"], event.image) == ("a", "5", b"pixels")


def test_unknown_binary_frames_are_skipped() -> None:
    assert read_frame(struct.pack(">II", 99, 0)) == (None, None)


def test_a_refusal_reads_as_one_line_per_error() -> None:
    errors = {"5": {"class_type": "KSampler", "errors": [{"message": "Value too big", "details": "steps: 20000 > 10000"}]}}
    refused = Refused(400, {"error": {"message": "Prompt outputs failed validation", "details": ""}, "node_errors": errors})
    assert "node 5 (KSampler): Value too big: steps: 20000 > 10000" in str(refused)


@pytest.mark.parametrize("body", ["plain text", {"error": "words"}, None, [], {"error": None}])
def test_any_error_body_makes_a_message(body: object) -> None:
    assert str(Refused(500, body)).strip()


def entry(last: tuple[str, dict[str, object]], status: str) -> dict[str, object]:
    messages = [["execution_start", {}], list(last)]
    return {"outputs": {}, "status": {"status_str": status, "completed": status == "success", "messages": messages}}


def test_a_history_entry_tells_how_the_job_went() -> None:
    assert judge(entry(("execution_success", {}), "success"))["outputs"] == {}
    with pytest.raises(JobCancelled):
        judge(entry(("execution_interrupted", {"node_id": "1"}), "error"))
    failure = {"node_id": "1", "node_type": "VAEDecode", "exception_message": "no such file\n", "exception_type": "E", "traceback": ["t"]}
    with pytest.raises(JobFailed, match=r"node 1 \(VAEDecode\): no such file") as caught:
        judge(entry(("execution_error", failure), "error"))
    assert caught.value.traceback == ["t"]


def test_results_come_before_temporary_pictures() -> None:
    outputs = {
        "1": {"images": [{"filename": "t.png", "subfolder": "", "type": "temp"}], "text": ["words"]},
        "2": {"images": [{"filename": "a.png", "subfolder": "s", "type": "output"}], "animated": [True]},
        "3": None,
    }
    found = images_of(Address("http://h:1"), {"outputs": outputs})
    assert [(i.node, i.filename, i.subfolder) for i in found] == [("2", "a.png", "s"), ("1", "t.png", "")]


def test_an_upload_is_proper_multipart(tmp_path: Path) -> None:
    path = tmp_path / 'a "b" ü.png'
    path.write_bytes(b"\x89PNG\r\n\x00--x")
    body, kind = form(path, {"type": "input"})
    message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    fields, image = message.get_payload()  # type: ignore[misc]
    assert fields.get_param("name", header="content-disposition") == "type"
    assert image.get_payload(decode=True) == b"\x89PNG\r\n\x00--x"
    assert image.get_content_type() == "image/png"


@pytest.mark.parametrize(
    ("url", "socket"),
    [
        ("http://h:1", "ws://h:1/ws?clientId=c"),
        ("https://h/prefix/", "wss://h/prefix/ws?clientId=c"),
        ("h:8188", "ws://h:8188/ws?clientId=c"),
    ],
)
def test_addresses(url: str, socket: str) -> None:
    assert Client(url).address.socket("c", None) == socket


def test_nobody_there_is_said_with_the_address() -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        Client("http://127.0.0.1:9").queue()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        Client("http://127.0.0.1:9").submit({})
    with pytest.raises(Unreachable, match="is not the address"):
        Client("http://").queue()
