"""The websocket protocol over real sockets with a real worker: exact frames in exact order."""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.wiretap import PATIENCE_S, Json, Server, is_end, node, running

pytestmark = pytest.mark.slow
SEEDS = itertools.count(1_000_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("protocol"), "--preview-method", "none") as one:
        yield one


def two_nodes() -> Json:
    return {"1": node("TestAdd", a=next(SEEDS), b=1), "2": node("TestShow", a=["1", 0])}


def state(id: str, node: str, value: float, total: float, word: str) -> Json:
    return {
        "value": value,
        "max": total,
        "state": word,
        "node_id": node,
        "prompt_id": id,
        "display_node_id": node,
        "parent_node_id": None,
        "real_node_id": node,
    }


def timeless(frames: list[Any]) -> list[Any]:
    """Frames with their times checked and taken out."""
    for frame in frames:
        if not isinstance(frame, bytes) and "timestamp" in frame["data"]:
            assert abs(frame["data"].pop("timestamp") / 1000 - time.time()) < 60
    return frames


def status(n: int) -> Json:
    return {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": n}}}}


def executing(id: str, node: str | None) -> Json:
    return {"type": "executing", "data": {"node": node, "display_node": node, "prompt_id": id}}


def end(id: str) -> Json:
    return {"type": "executing", "data": {"node": None, "prompt_id": id}}


def progress_state(id: str, **nodes: Any) -> Json:
    return {"type": "progress_state", "data": {"prompt_id": id, "nodes": nodes}}


def test_handshake(server: Server) -> None:
    socket = server.socket("someone")
    assert socket.next() == {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "someone"}}
    socket.close()
    anonymous = server.socket("")
    assert len(anonymous.next()["data"]["sid"]) == 32
    anonymous.close()


def test_order_of_a_success_and_of_its_cached_repetition(server: Server) -> None:
    socket = server.socket("me")
    socket.next()
    graph = two_nodes()
    total = graph["1"]["inputs"]["a"] + 1
    id = server.submit(graph, "me")
    r1, f1 = state(id, "1", 0, 1, "running"), state(id, "1", 1, 1, "finished")
    r2, f2 = state(id, "2", 0, 1, "running"), state(id, "2", 1, 1, "finished")
    shown = {"type": "executed", "data": {"node": "2", "display_node": "2", "output": {"text": list(str(total))}, "prompt_id": id}}
    shown["data"]["output"] = {"text": [str(total)]}
    assert timeless(socket.run(id)) == [
        status(1),
        status(1),
        {"type": "execution_start", "data": {"prompt_id": id}},
        {"type": "execution_cached", "data": {"nodes": [], "prompt_id": id}},
        progress_state(id, **{"1": r1}),
        executing(id, "1"),
        progress_state(id, **{"1": f1}),
        progress_state(id, **{"1": f1, "2": r2}),
        executing(id, "2"),
        shown,
        progress_state(id, **{"1": f1, "2": f2}),
        {"type": "execution_success", "data": {"prompt_id": id}},
        status(0),
        end(id),
    ]
    again = server.submit(graph, "me")
    shown["data"]["prompt_id"] = again
    assert timeless(socket.run(again)) == [
        status(1),
        status(1),
        {"type": "execution_start", "data": {"prompt_id": again}},
        {"type": "execution_cached", "data": {"nodes": ["1", "2"], "prompt_id": again}},
        shown,
        progress_state(again, **{"2": state(again, "2", 1, 1, "finished")}),
        {"type": "execution_success", "data": {"prompt_id": again}},
        status(0),
        end(again),
    ]
    socket.close()


def test_history_is_there_when_the_run_ends(server: Server) -> None:
    socket = server.socket("hist")
    graph = two_nodes()
    id = server.submit(graph, "hist", extra_data={"extra_pnginfo": {"workflow": {"a": 1}}, "api_key_comfy_org": "hush-hush"})
    socket.run(id)
    entry = server.history(id)
    number = entry["prompt"][0]
    extra = {"extra_pnginfo": {"workflow": {"a": 1}}, "client_id": "hist"}
    assert entry["prompt"] == [number, id, graph, extra, ["2"]]
    assert isinstance(number, int)
    assert entry["outputs"] == {"2": {"text": [str(graph["1"]["inputs"]["a"] + 1)]}}
    assert entry["meta"] == {"2": {"node_id": "2", "display_node": "2", "parent_node": None, "real_node_id": "2"}}
    assert entry["status"]["status_str"] == "success"
    assert entry["status"]["completed"] is True
    assert [m[0] for m in entry["status"]["messages"]] == ["execution_start", "execution_cached", "execution_success"]
    assert b"hush-hush" not in server.ask("/history").body
    assert not [p for p in (server.home / "user").rglob("*") if p.is_file() and b"hush-hush" in p.read_bytes()]
    socket.close()


def test_error(server: Server) -> None:
    socket = server.socket("err")
    socket.next()
    graph = {
        "1": node("TestAdd", a=next(SEEDS), b=1),
        "2": node("TestDie", how="raise", once="", seed=["1", 0]),
        "3": node("TestSink", a=["2", 0]),
    }
    id = server.submit(graph, "err")
    frames = timeless(socket.run(id))
    assert [f["type"] for f in frames[-3:]] == ["execution_error", "status", "executing"]
    error = frames[-3]["data"]
    assert (error["node_id"], error["node_type"], error["prompt_id"]) == ("2", "TestDie", id)
    assert (error["exception_type"], error["exception_message"]) == ("RuntimeError", "as asked\n")
    assert error["executed"] == ["1"]
    assert sorted(error["current_outputs"]) == ["1", "2", "3"]
    assert error["current_inputs"]["how"] == ["raise"]
    assert any("as asked" in line for line in error["traceback"])
    entry = server.history(id)
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("error", False)
    assert entry["status"]["messages"][-1][0] == "execution_error"
    assert "as asked" in server.ask(f"/jobs/{id}").json()["error"]
    socket.close()


@pytest.mark.parametrize("how", ["sys.exit", "memory", "recursion"])
def test_what_a_node_raises_never_harms_the_next(server: Server, how: str) -> None:
    socket = server.socket(how)
    bad = server.submit({"1": node("TestDie", how=how, once="", seed=next(SEEDS)), "2": node("TestSink", a=["1", 0])}, how)
    assert "execution_error" in [f["type"] for f in socket.run(bad)]
    good = server.submit(two_nodes(), how)
    assert "execution_success" in [f["type"] for f in socket.run(good)]
    assert server.ask(f"/jobs/{bad}").json()["attempts"] == 1
    socket.close()


def test_interrupt(server: Server) -> None:
    socket = server.socket("int")
    socket.next()
    id = server.submit({"1": node("TestSleep", seconds=30, deaf=False, seed=next(SEEDS)), "2": node("TestSink", a=["1", 0])}, "int")
    socket.until(lambda f: f["type"] == "progress")
    assert server.ask("/interrupt", {"prompt_id": "another"}).status == 200
    socket.until(lambda f: f["type"] == "progress")
    assert server.ask("/interrupt", b"").status == 200
    frames = timeless(socket.run(id))
    assert all(f["data"]["value"] < f["data"]["max"] // 2 for f in frames if f["type"] == "progress"), "it did not end by itself"
    told = [f for f in frames if f["type"] not in ("progress", "progress_state")]
    assert told == [
        {"type": "execution_interrupted", "data": {"prompt_id": id, "node_id": "1", "node_type": "TestSleep", "executed": []}},
        status(0),
        end(id),
    ]
    entry = server.history(id)
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("error", False)
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert server.ask(f"/jobs/{id}").json()["state"] == "interrupted"
    socket.close()


def test_without_client_id_only_progress_reaches_everyone(server: Server) -> None:
    watcher = server.socket("watcher")
    watcher.next()
    id = server.submit({"1": node("TestSleep", seconds=0.3, deaf=False, seed=next(SEEDS)), "2": node("TestShow", a=["1", 0])})
    deadline = time.monotonic() + PATIENCE_S
    while not server.history(id) and time.monotonic() < deadline:
        time.sleep(0.05)
    marker = server.submit(two_nodes(), "watcher")
    frames = watcher.run(marker)
    own = {f["type"] for f in frames if f["data"].get("prompt_id") == id}
    assert own == {"progress", "progress_state"}
    last = [f for f in frames if f["type"] == "progress_state" and f["data"]["prompt_id"] == id][-1]
    assert {n["state"] for n in last["data"]["nodes"].values()} == {"finished"}
    watcher.close()


def test_interrupt_without_client_reaches_everyone(server: Server) -> None:
    watcher = server.socket("watcher")
    id = server.submit({"1": node("TestSleep", seconds=30, deaf=False, seed=next(SEEDS)), "2": node("TestSink", a=["1", 0])})
    watcher.until(lambda f: f["type"] == "progress")
    server.ask("/interrupt", {"prompt_id": id})
    watcher.until(lambda f: f["type"] == "execution_interrupted")
    watcher.close()


def test_pictures_in_both_forms(server: Server) -> None:
    plain, full = server.socket("plain"), server.socket("full", flags={"supports_preview_metadata": True})
    full.next()
    assert full.next() == {"type": "feature_flags", "data": {"supports_preview_metadata": True, "max_upload_size": 100 << 20}}
    for socket, format in ((plain, "jpeg"), (full, "jpeg"), (plain, "png")):
        id = server.submit({"1": node("TestPreview", n=2, format=format, seed=next(SEEDS))}, socket.sid)
        frames = socket.run(id)
        pictures = [i for i, f in enumerate(frames) if isinstance(f, bytes) and f[3] in (1, 4)]
        assert len(pictures) == 2
        for n, at in enumerate(pictures):
            kind, second = struct.unpack(">II", frames[at][:8])
            if socket is plain:
                assert (kind, second, frames[at][8:]) == (1, 2 if format == "png" else 1, f"picture {n}".encode())
                assert frames[at - 1]["type"] == "progress"
                assert frames[at - 1]["data"] == {"value": n + 1, "max": 2, "prompt_id": id, "node": "1"}
                assert frames[at - 2]["type"] == "progress_state"
            else:
                import json

                about = json.loads(frames[at][8 : 8 + second])
                assert kind == 4
                assert frames[at][8 + second :] == f"picture {n}".encode()
                assert about == {
                    "node_id": "1",
                    "prompt_id": id,
                    "display_node_id": "1",
                    "parent_node_id": None,
                    "real_node_id": "1",
                    "image_type": "image/jpeg",
                }
                assert frames[at + 1]["type"] == "progress"
                assert frames[at - 1]["type"] == "progress_state"
        (text,) = [f for f in frames if isinstance(f, bytes) and f[3] == 3]
        assert text == struct.pack(">II", 3, 1) + b"1" + b"some text"
    plain.close(), full.close()


def test_flags_count_only_as_the_first_message(server: Server) -> None:
    socket = server.socket("late")
    socket.connection.send("not json")
    socket.connection.send('{"type":"feature_flags","data":{"supports_preview_metadata":true}}')
    id = server.submit({"1": node("TestPreview", n=1, format="jpeg", seed=next(SEEDS))}, "late")
    frames = socket.run(id)
    assert [f[3] for f in frames if isinstance(f, bytes)] == [1, 3]
    assert "feature_flags" not in [f["type"] for f in frames if not isinstance(f, bytes)]
    socket.close()


def test_expansion_names_the_visible_node(server: Server) -> None:
    socket = server.socket("exp")
    id = server.submit({"1": node("TestExpand", a=next(SEEDS), n=2), "2": node("TestShow", a=["1", 0])}, "exp")
    frames = socket.run(id)
    started = [(f["data"]["node"], f["data"]["display_node"]) for f in frames if f["type"] == "executing" and f["data"]["node"]]
    assert ("1.0.0.0", "1") in started
    assert ("1.0.0.1", "1") in started
    state_of_child = [f for f in frames if f["type"] == "progress_state"][-1]["data"]["nodes"]["1.0.0.1"]
    assert (state_of_child["parent_node_id"], state_of_child["display_node_id"], state_of_child["real_node_id"]) == ("1", "1", "1")
    socket.close()


def test_reconnecting_during_a_run(server: Server) -> None:
    first = server.socket("again")
    id = server.submit({"1": node("TestSleep", seconds=60, deaf=False, seed=next(SEEDS)), "2": node("TestShow", a=["1", 0])}, "again")
    first.until(lambda f: f["type"] == "progress")
    second = server.socket("again")
    assert second.next()["data"]["sid"] == "again"
    assert second.next() == {"type": "executing", "data": {"node": "1"}}
    first.close()
    second.until(lambda f: f["type"] == "progress")
    server.ask("/interrupt", {"prompt_id": id})
    frames = second.run(id)
    assert "execution_interrupted" in [f["type"] for f in frames]
    second.close()


def test_second_socket_keeps_receiving_when_the_first_closes(server: Server) -> None:
    a, b = server.socket("twice"), server.socket("twice")
    b.next()
    a.close()
    time.sleep(0.2)
    id = server.submit(two_nodes(), "twice")
    assert is_end(b.run(id)[-1], id)
    b.close()


def test_missed_events_are_told_again(server: Server) -> None:
    socket = server.socket("cursor", flags={"event_cursor": True})
    socket.next()
    socket.next()
    first = server.submit(two_nodes(), "cursor")
    frames = socket.run(first)
    seen = max(f.get("seq", 0) for f in frames)
    assert all("seq" in f for f in frames if f["type"] in ("executing", "execution_success", "progress_state"))
    socket.close()
    missed = server.submit(two_nodes(), "cursor")
    other = server.submit(two_nodes(), "somebody else")
    deadline = time.monotonic() + PATIENCE_S
    while not server.history(other) and time.monotonic() < deadline:
        time.sleep(0.05)
    back = server.socket("cursor", query=f"&since={seen}")
    told = [f for f in back.run(missed) if f["type"] != "status"]
    kinds = [f["type"] for f in told]
    assert kinds == ["execution_start", "execution_cached", "executing", "executing", "executed", "execution_success", "executing"]
    assert {f["data"]["prompt_id"] for f in told} == {missed}
    numbers = [f["seq"] for f in told]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > seen
    live = server.submit(two_nodes(), "cursor")
    assert min(f["seq"] for f in back.run(live) if "seq" in f and f["type"] != "status") > numbers[-1]
    back.close()
    nothing = server.socket("cursor", query="&since=999999999")
    assert first in {f["data"]["prompt_id"] for f in nothing.run(missed) if f["type"] != "status"}, "numbers of a lost database start anew"
    nothing.close()


def test_replay_while_events_flow_loses_and_repeats_nothing(server: Server) -> None:
    graph = {str(n): node("TestAdd", a=[str(n - 1), 0] if n else next(SEEDS), b=1) for n in range(300)}
    graph["s"] = node("TestSink", a=["299", 0])
    id = server.submit(graph, "stream")
    for _ in range(3):
        socket = server.socket("stream", query="&since=0")
        numbers = [f["seq"] for f in socket.run(id) if f["type"] == "executing"]
        socket.close()
        assert numbers == sorted(set(numbers))
        assert len(numbers) == 302


def test_progress_state_grows_linearly(server: Server) -> None:
    def volume(n: int) -> int:
        import json

        socket = server.socket("volume")
        graph = {str(i): node("TestSink", a=next(SEEDS)) for i in range(n)}
        id = server.submit(graph, "volume")
        frames = socket.run(id)
        socket.close()
        last = [f for f in frames if f["type"] == "progress_state"][-1]
        assert len(last["data"]["nodes"]) == n
        assert {s["state"] for s in last["data"]["nodes"].values()} == {"finished"}
        return sum(len(json.dumps(f)) for f in frames)

    small, large = volume(200), volume(2000)
    assert large < 14 * small


def test_order_of_numbers(server: Server) -> None:
    socket = server.socket("q")
    blocker = server.submit({"1": node("TestSleep", seconds=60, deaf=False, seed=next(SEEDS)), "2": node("TestSink", a=["1", 0])}, "q")
    socket.until(lambda f: f["type"] == "progress")
    answers = [
        server.ask("/prompt", {"prompt": two_nodes(), "client_id": "q", "prompt_id": name, **more}).json()
        for name, more in (("normal", {}), ("front", {"front": True}), ("front2", {"front": True}), ("five", {"number": 0.5}))
    ]
    base = answers[0]["number"]
    assert [a["number"] for a in answers] == [base, -(base + 1), -(base + 2), 0.5]
    pending = server.ask("/queue").json()["queue_pending"]
    assert [i[1] for i in sorted(pending)] == ["front2", "front", "five", "normal"]
    assert [len(i) for i in pending] == [5] * 4
    running_now = server.ask("/api/queue").json()["queue_running"]
    assert [i[1] for i in running_now] == [blocker]
    server.ask("/queue", {"delete": ["front", "unknown"]})
    server.ask("/interrupt", {})
    order = [f["data"]["prompt_id"] for f in socket.run("normal") if f["type"] == "execution_start"]
    assert order[-3:] == ["front2", "five", "normal"]
    assert server.ask("/history/front").json() == {}
    assert server.ask("/jobs/front").status == 404
    socket.close()


def test_partial_targets(server: Server) -> None:
    graph = {"1": node("TestShow", a=next(SEEDS)), "2": node("TestShow", a=next(SEEDS))}
    socket = server.socket("part")
    id = server.submit(graph, "part", partial_execution_targets=["2"])
    socket.run(id)
    entry = server.history(id)
    assert entry["prompt"][4] == ["2"]
    assert list(entry["outputs"]) == ["2"]
    socket.close()


def test_custom_validation_and_dynamic_choices_come_from_the_worker(server: Server, tmp_path: Path) -> None:
    bad = server.ask("/prompt", {"prompt": {"1": node("TestChecked", n=3, choice="first")}})
    assert bad.status == 400
    (error,) = bad.json()["node_errors"]["1"]["errors"]
    assert error["type"] == "custom_validation_failed"
    assert "3 is odd" in error["details"]
    assert server.ask("/prompt", {"prompt": {"1": node("TestChecked", n=2, choice="first")}}).status == 200
    file = server.home / "custom_nodes" / "testpack" / "choices.txt"
    file.write_text("first second")
    time.sleep(1.1)
    assert server.ask("/object_info/TestChecked").json()["TestChecked"]["input"]["required"]["choice"][0] == ["first", "second"]
    assert server.ask("/prompt", {"prompt": {"1": node("TestChecked", n=2, choice="second")}}).status == 200


def test_custom_validation_while_a_node_computes(server: Server) -> None:
    socket = server.socket("busy")
    id = server.submit({"1": node("TestSleep", seconds=60, deaf=False, seed=next(SEEDS)), "2": node("TestSink", a=["1", 0])}, "busy")
    socket.until(lambda f: f["type"] == "progress")
    assert server.ask("/prompt", {"prompt": {"1": node("TestChecked", n=5, choice="first")}}).status == 400
    assert [i[1] for i in server.ask("/queue").json()["queue_running"]] == [id], "the answer did not wait for the node"
    server.ask("/interrupt", {"prompt_id": id})
    socket.run(id)
    socket.close()


def test_reasons_are_in_the_story(server: Server) -> None:
    socket = server.socket("why")
    graph = two_nodes()
    socket.run(server.submit(graph, "why"))
    graph["1"]["inputs"]["b"] = 2
    id = server.submit(graph, "why")
    socket.run(id)
    story = server.ask(f"/jobs/{id}/events").json()
    reasons = {e["node"]: e["reason"] for e in story if e["event"] == "NodeWhy"}
    assert "`b`" in reasons["1"]
    socket.close()


def test_logs_reach_subscribers(server: Server) -> None:
    socket = server.socket("logs")
    socket.next()
    assert server.ask("/internal/logs/subscribe", {"clientId": "logs", "enabled": True}, method="PATCH").status == 200
    server.submit({"1": node("TestPrint", text="words of a node", times=next(SEEDS) % 7 + 1), "2": node("TestSink", a=["1", 0])})
    frames = socket.until(lambda f: f["type"] == "logs" and any("words of a node" in e["m"] for e in f["data"]["entries"]))
    assert set(frames[-1]["data"]) == {"entries", "size"}
    assert "words of a node" in server.ask("/internal/logs").json()
    assert set(server.ask("/internal/logs/raw").json()["entries"][0]) == {"t", "m"}
    socket.close()


def test_flood_of_prints_does_not_stop_the_server(server: Server) -> None:
    socket = server.socket("flood")
    id = server.submit({"1": node("TestPrint", text="x" * 1000, times=20_000), "2": node("TestSink", a=["1", 0])}, "flood")
    answers = 0
    while not server.history(id):
        assert server.ask("/queue").status == 200
        answers += 1
    assert answers > 2, "it answers all along, not when the flood is over"
    assert len(server.ask("/internal/logs/raw").json()["entries"]) <= 300
    socket.close()
