from __future__ import annotations

import http.client
import json
import socket as sockets
import time
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.e2e.wiretap import Server, node
from tests.faults.ask import SEEDS, ended, quick, still_works

pytestmark = pytest.mark.slow


def address(server: Server) -> tuple[str, int]:
    name, port = server.url.removeprefix("http://").split(":")
    return name, int(port)


def test_a_chain_of_three_thousand_nodes_runs(server: Server) -> None:
    graph: dict[str, Any] = {"0": node("TestAdd", a=next(SEEDS), b=1)}
    for n in range(1, 3000):
        graph[str(n)] = node("TestAdd", a=[str(n - 1), 0], b=1)
    graph["end"] = node("TestShow", a=["2999", 0])
    assert ended(server, server.submit(graph))["status"]["completed"]


def test_thirty_stacked_diamonds_are_no_work(server: Server) -> None:
    graph: dict[str, Any] = {"0": node("TestAdd", a=0, b=1)}
    for n in range(1, 31):
        graph[str(n)] = node("TestAdd", a=[str(n - 1), 0], b=[str(n - 1), 0])
    graph["end"] = node("TestShow", a=["30", 0])
    assert ended(server, server.submit(graph))["outputs"]["end"]["text"] == [str(2**30)]


def test_numbers_of_the_queue_must_be_numbers(server: Server) -> None:
    for number in (b"NaN", b"Infinity", b'"abc"', b"true", b"1e999"):
        assert server.ask("/prompt", b'{"prompt":' + json.dumps(quick()).encode() + b',"number":' + number + b"}").status == 400


@pytest.mark.parametrize(
    ("id", "value"), [("a\r\nb", 1), ("a\nb", 1), ("a\0", 1), ("a", "x\r\ny"), ("a", "x\0"), ("a", {"b": ["x\ry"]}), ("", 1)]
)
def test_line_ends_are_no_part_of_a_setting(server: Server, id: str, value: Any) -> None:
    before = server.ask("/settings").json()
    assert server.ask("/settings", {id: value}).status == 400
    assert server.ask("/settings").json() == before
    assert server.ask("/settings", {"css": "a {\n}\n"}).status == 200, "plain lines of a text are fine"


@pytest.mark.parametrize(("payload", "text", "code"), [(b"x" * (10 << 20), True, 1009), (b"\xff\xfe", True, 1007)])
def test_frames_that_are_too_large_or_no_text_close_their_socket(server: Server, payload: bytes, text: bool, code: int) -> None:
    socket = server.socket("hostile")
    with suppress(ConnectionClosed):
        socket.connection.send(payload, text=text)
    with pytest.raises(ConnectionClosed) as caught:
        socket.until(lambda frame: False, 10)
    assert caught.value.rcvd is None or caught.value.rcvd.code == code, "the goodbye may be lost while megabytes are on their way"
    still_works(server)


def test_a_flood_of_frames_harms_nobody(server: Server) -> None:
    flood, other = server.socket("flood"), server.socket("other")
    with suppress(ConnectionClosed):
        for _ in range(20_000):
            flood.connection.send("{}")
    assert other.run(server.submit(quick(), "other"))
    flood.close()
    other.close()


def test_a_hundred_sockets_and_some_that_never_read(server: Server) -> None:
    deaf = []
    for n in range(3):
        raw = sockets.create_connection(address(server))
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13"
        raw.sendall(
            f"GET /ws?clientId=deaf{n} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n\r\n".encode()
        )
        deaf.append(raw)
    many = [server.socket(f"many{n}") for n in range(100)]
    for n in (0, 50, 99):
        assert many[n].run(server.submit(quick(), f"many{n}"))
    for socket in [*many, *deaf]:
        socket.close()


def test_a_request_that_never_ends_is_dropped(server: Server) -> None:
    head = b"POST /prompt HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for sent in (head, head + b"Content-Length: 1000\r\n\r\n{", head + b"Transfer-Encoding: chunked\r\n\r\n5\r\n"):
        with sockets.create_connection(address(server), timeout=60) as slow:
            slow.sendall(sent)
            with suppress(ConnectionResetError):
                slow.recv(4096)  # returns when the server hangs up (with an answer or without), and times out when it does not
    still_works(server)


def test_a_slow_upload_that_goes_on_is_not_dropped(server: Server) -> None:
    body = json.dumps({"prompt": quick()}).encode()
    connection = http.client.HTTPConnection(*address(server), timeout=30)
    connection.putrequest("POST", "/prompt")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    third = len(body) // 3
    for piece in (body[:third], body[third : 2 * third], body[2 * third :]):
        time.sleep(0.6)
        connection.send(piece)
    assert connection.getresponse().status == 200
    connection.close()
