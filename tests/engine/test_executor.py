from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend.base import events as ev
from backend.base.errors import BadInput, Interrupted, OutOfMemory
from backend.base.jsonable import dumps
from backend.base.paths import Folders
from backend.engine.call import CURRENT
from backend.engine.context import Blocker, Preview, Ui
from backend.graph.schema import Files, Input
from tests.engine.runs import Bench, kind, node

CHAIN = {"1": node("Value", a=1), "2": node("Add", a="#1", b=10), "3": node("Show", a="#2")}


def test_a_run_tells_its_story_in_order() -> None:
    bench = Bench()
    outcome = bench.run(CHAIN)
    assert bench.story() == [
        "run", "cached", "start:1", "finish:1", "start:2", "finish:2", "start:3", "shown:3", "finish:3", "success",
    ]  # fmt: skip
    assert bench.shown() == {"3": {"text": ["11"]}} and bench.ran == ["1", "2", "3"]
    assert (outcome.status, outcome.executed, outcome.cached, outcome.error) == ("success", 3, 0, None)
    assert bench.of(ev.NodesCached)[0].nodes == ()


def test_a_second_run_only_tells_again() -> None:
    bench = Bench()
    bench.run(CHAIN | {"4": node("Silent", a="#1")})
    outcome = bench.run(CHAIN | {"4": node("Silent", a="#1")})
    assert bench.ran == []
    assert bench.story() == ["run", "cached", "again", "success"]
    assert bench.again() == {"3": {"text": ["11"]}, "4": None}
    assert bench.of(ev.NodesCached)[0].nodes == ("1", "2", "3", "4")
    assert (outcome.executed, outcome.cached) == (2, 4)


def test_ids_do_not_matter_to_the_cache() -> None:
    bench = Bench()
    bench.run(CHAIN)
    bench.run({"x": node("Show", a="#y"), "y": node("Add", b=10, a="#z"), "z": node("Value", a=1)})
    assert bench.ran == [] and bench.shown() == {"x": {"text": ["11"]}}


def test_only_what_changed_and_what_reads_it_runs_again_and_says_why() -> None:
    bench = Bench()
    document = CHAIN | {"5": node("Value", a=5), "6": node("Show", a="#5")}
    bench.run(document)
    assert bench.of(ev.NodeWhy) == []
    bench.run(document | {"2": node("Add", a="#1", b=20)})
    assert bench.ran == ["2", "3"] and bench.shown()["3"] == {"text": ["21"]}
    assert {e.node: e.reason for e in bench.of(ev.NodeWhy)} == {
        "2": "input `b` changed",
        "3": "input `a` comes from node 2, which runs again",
    }


def test_targets_leave_the_rest_out() -> None:
    bench = Bench()
    bench.run(CHAIN | {"5": node("Value", a=5), "6": node("Show", a="#5")}, targets=["6"])
    assert bench.ran == ["5", "6"]


def test_outputs_come_as_early_as_possible() -> None:
    bench = Bench()
    document = {
        "a": node("Value", a=1),
        "b": node("Value", a=2),
        "show a": node("Show", a="#a"),
        "far": node("Add", a="#b", b=1),
        "show b": node("Show", a="#far"),
    }
    bench.run(document)
    assert bench.ran == ["a", "show a", "b", "far", "show b"]


# -- lists


def test_lists_map_and_repeat_their_last_value() -> None:
    bench = Bench()
    bench.run(
        {
            "1": node("List", a={"__value__": [1, 2, 3]}),
            "2": node("List", a={"__value__": [10, 20]}),
            "3": node("Add", a="#1", b="#2"),
            "4": node("Show", a="#3"),
        }
    )
    assert bench.shown() == {"4": {"text": ["11", "22", "23"]}} and bench.ran == ["2", "1", "3", "3", "3", "4", "4", "4"]


def test_the_index_of_a_mapped_call_is_known() -> None:
    seen: list[Any] = []
    bench = Bench(kind("See", lambda ctx, a: seen.append((ctx.index, a)), "a", outputs=0))
    bench.run({"1": node("List", a={"__value__": "xy"}), "2": node("See", a="#1"), "3": node("See", a=7)})
    assert sorted(seen, key=str) == [(0, "x"), (1, "y"), (None, 7)]


def test_whole_lists_wrap_everything() -> None:
    seen: dict[str, Any] = {}
    hidden = Input("me", "UNIQUE_ID", None, False, hidden="UNIQUE_ID")
    whole = kind("Whole", lambda ctx, **given: seen.update(given), "a b", outputs=0, input_is_list=True, passes_hidden=True)
    object.__setattr__(whole, "inputs", (*whole.inputs, hidden))
    bench = Bench(whole)
    bench.run({"1": node("List", a={"__value__": [1, 2]}), "2": node("Whole", a="#1", b=5)})
    assert seen == {"a": [1, 2], "b": [5], "me": ["2"]}


def test_a_missing_slot_passes_none_and_an_empty_list_is_an_error() -> None:
    bench = Bench(kind("Short", lambda ctx: (1,), outputs=2, many=True))
    bench.run({"1": node("Short"), "2": node("Show", a="#1:1")})
    assert bench.shown() == {"2": {"text": ["None"]}}
    outcome = bench.run({"1": node("List", a={"__value__": []}), "2": node("Show", a="#1")})
    assert outcome.error is not None and (outcome.error.node, "empty list" in outcome.error.message) == ("2", True)


# -- hidden values and inputs


def test_hidden_values_reach_only_those_who_ask() -> None:
    seen: dict[str, Any] = {}
    words = ("PROMPT", "DYNPROMPT", "EXTRA_PNGINFO", "UNIQUE_ID", "API_KEY")
    asking = kind("Ask", lambda ctx, **given: seen.update(given), outputs=0, passes_hidden=True)
    object.__setattr__(asking, "inputs", tuple(Input(w.lower(), w, None, False, hidden=w) for w in words))
    bench = Bench(asking)
    document = {"7": node("Ask", undeclared=5)}
    bench.run(document, extra={"extra_pnginfo": {"workflow": 1}, "api_key": "k"})
    assert seen.pop("dynprompt") is not None
    assert seen == {"prompt": document, "extra_pnginfo": {"workflow": 1}, "unique_id": "7", "api_key": "k"}


def test_undeclared_links_are_passed_where_the_type_takes_them() -> None:
    seen: list[dict[str, Any]] = []
    taking = kind("Taking", lambda ctx, **given: seen.append(given), outputs=0, any_input=True)
    leaving = kind("Leaving", lambda ctx, **given: seen.append(given), outputs=0)
    both = kind("Both", lambda ctx, **given: seen.append(given), outputs=0, any_input=True, any_constant=True)
    bench = Bench(taking, leaving, both)
    bench.run({"1": node("Value", a=1), **{k: node(k, x="#1", y=2) for k in ("Taking", "Leaving", "Both")}})
    assert seen == [{"x": 1}, {}, {"x": 1, "y": 2}]


def test_raw_links_are_passed_as_they_are() -> None:
    raw = kind("Raw", lambda ctx, a: ctx.show("text", [a]), outputs=0)
    object.__setattr__(raw, "inputs", (Input("a", "X", None, True, wildcard=True, raw_link=True),))
    bench = Bench(raw)
    bench.run({"1": node("Value", a=1), "2": node("Raw", a="#1")})
    assert bench.shown() == {"2": {"text": [["1", 0]]}}


def test_a_node_without_id_dependence_shares_its_result_and_a_personal_one_does_not() -> None:
    bench = Bench(kind("Own", lambda ctx: ctx.node, not_idempotent=True))
    document = {"1": node("Own"), "2": node("Own"), "3": node("Show", a="#1"), "4": node("Show", a="#2")}
    bench.run(document)
    assert bench.shown() == {"3": {"text": ["1"]}, "4": {"text": ["2"]}}


# -- lazy inputs


def switch(ctx: Any, on: Any, yes: Any = None, no: Any = None) -> Any:
    return yes if on else no


def needs(ctx: Any, on: Any, yes: Any = None, no: Any = None) -> list[str]:
    return (["yes"] if yes is None else []) if on else (["no"] if no is None else [])


def test_lazy_inputs_run_only_when_asked_for() -> None:
    bench = Bench(kind("Switch", switch, "on yes~ no~", lazy_status=needs))
    document = {
        "1": node("Value", a=1), "2": node("Value", a=2), "3": node("Switch", on=True, yes="#1", no="#2"), "4": node("Show", a="#3"),
    }  # fmt: skip
    bench.run(document)
    assert bench.ran == ["1", "4"] and bench.shown() == {"4": {"text": ["1"]}}
    assert bench.story().count("start:3") == 2  # once to ask, once to run
    document["1"] = node("Value", a=7)
    bench.run(document)
    assert [e.node for e in bench.of(ev.NodeWhy)] == ["3", "1", "4"]


def test_lazy_inputs_that_are_there_already_are_passed() -> None:
    bench = Bench(kind("Switch", switch, "on yes~ no~", lazy_status=needs))
    document = {
        "1": node("Value", a=1),
        "0": node("Show", a="#1"),
        "3": node("Switch", on=True, yes="#1", no="#1"),
        "4": node("Show", a="#3"),
    }
    bench.run(document, targets=["0"])
    bench.run(document)
    assert bench.ran == ["4"] and bench.story().count("start:3") == 1


def test_asking_for_an_input_that_is_not_there_is_an_error_of_the_run() -> None:
    bench = Bench(kind("Switch", switch, "on yes~ no~", lazy_status=lambda ctx, **given: ["nonsense"]))
    outcome = bench.run({"1": node("Value", a=1), "3": node("Switch", on=True, yes="#1"), "4": node("Show", a="#3")})
    assert outcome.error is not None and "`nonsense`" in outcome.error.message and outcome.error.node == "3"


def test_a_loop_through_a_lazy_input_is_named_at_run_time() -> None:
    lazy = kind("Lazy", lambda ctx, a=None: a, "a~", lazy_status=lambda ctx, a=None: ["a"] if a is None else [])
    expanding = kind("Loop", lambda ctx: _expand({"x": node("Lazy", a="#y"), "y": node("Value", a="#x")}, ["x", 0]))
    bench = Bench(lazy, expanding)
    outcome = bench.run({"1": node("Loop"), "2": node("Show", a="#1")})
    assert outcome.error is not None and "loop" in outcome.error.message and "x" in outcome.error.message
    assert outcome.error.node == "1"


def _expand(nodes: dict[str, Any], *outputs: Any) -> Any:
    from backend.engine.context import Expand

    return Expand(nodes, outputs)


# -- fingerprints


def test_a_fingerprint_decides_whether_a_node_runs_again() -> None:
    state = {"v": 1}
    calls: list[dict[str, Any]] = []

    def fingerprint(ctx: Any, **given: Any) -> Any:
        calls.append(given)
        return state["v"]

    documents: list[Any] = []
    reader = kind("Read", lambda ctx, a, b=None: documents.append(ctx.prompt) or state["v"], "a b?", fingerprint=fingerprint)
    bench = Bench(reader)
    document = {"1": node("Read", a=5, b="#2", unknown=1), "2": node("Value", a=1), "3": node("Show", a="#1")}
    bench.run(document)
    bench.run(document)
    assert bench.ran == [] and calls == [{"a": 5, "b": None}] * 2
    state["v"] = 2
    bench.run(document)
    assert bench.ran == ["3"] and bench.shown() == {"3": {"text": ["2"]}}
    assert bench.of(ev.NodeWhy)[0].reason == "what it reads changed"
    assert documents[-1]["1"]["is_changed"] == [2] and "is_changed" not in document["1"]
    state["v"] = 3
    document["1"]["is_changed"] = [2]  # a document that brings its own is believed
    bench.run(document)
    assert bench.ran == []


def test_a_model_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    folders = Folders.of(tmp_path)
    lora = tmp_path / "models" / "loras" / "mine.safetensors"
    lora.parent.mkdir(parents=True)
    load = replace(kind("Load", lambda ctx, name: lora.read_bytes()), inputs=(Input("name", Files("loras")),))
    bench = Bench(load, services=SimpleNamespace(folders=folders))
    document = {"1": node("Load", name="mine.safetensors"), "2": node("Show", a="#1")}
    for content, ran in ((b"first", True), (None, False), (b"second", True)):
        if content is not None:
            lora.write_bytes(content)
        bench.run(document)
        assert bool(bench.of(ev.NodeStarted)) == ran
    assert bench.shown() == {"2": {"text": ["b'second'"]}}
    assert bench.of(ev.NodeWhy)[0].reason == "what it reads changed"
    assert "is_changed" not in bench.executor._trace.nodes["1"].raw, "what is saved with pictures stays as it was"
    lora.unlink()
    assert bench.run(document).status == "error", "nobody goes on with a file that is gone"


@pytest.mark.parametrize("value", [float("nan"), object(), RuntimeError("no")])
def test_a_fingerprint_that_equals_nothing_runs_always(value: Any) -> None:
    def fingerprint(ctx: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    bench = Bench(kind("Read", lambda ctx: bench.ran.append(ctx.node), fingerprint=fingerprint))
    document = {"1": node("Read"), "3": node("Silent", a="#1")}
    bench.run(document)
    bench.run(document)
    assert bench.ran == ["1", "3"]


# -- errors


def test_an_error_is_reported_with_all_that_is_known() -> None:
    bench = Bench()
    document = CHAIN | {"8": node("Fail", a="#2"), "9": node("Show", a="#8")}
    outcome = bench.run(document)
    assert outcome.status == "error" and bench.events[-1] is outcome.error
    error = outcome.error
    assert error is not None
    assert (error.node, error.node_type, error.exception, error.message) == ("8", "Fail", "ValueError", "it broke")
    assert error.inputs == {"a": [11]} and set(error.outputs) == set(document) and "8" not in error.executed and "2" in error.executed
    assert any("in fail" in line for line in error.traceback)


def test_an_error_report_stays_short() -> None:
    bench = Bench()
    error = bench.run({"1": node("Value", a={"__value__": [[0] * 100_000]}), "2": node("Fail", a="#1"), "3": node("Show", a="#2")}).error
    assert error is not None and len(dumps(ev.to_json(error))) < 10_000 and error.inputs["a"][0].startswith("[[0,0,")


def test_finished_results_of_a_failed_run_are_kept() -> None:
    bench = Bench()
    document = CHAIN | {"8": node("Fail", a="#2"), "9": node("Show", a="#8")}
    bench.run(document)
    bench.run(document)
    assert "1" not in bench.ran and "2" not in bench.ran and "8" in bench.ran


def test_problems_carry_their_hint() -> None:
    def run(ctx: Any) -> None:
        raise BadInput("The picture is empty.", hint="Choose another.")

    bench = Bench(kind("Bad", run, outputs=0))
    error = bench.run({"1": node("Bad")}).error
    assert error is not None and (error.message, error.hint) == ("The picture is empty.", "Choose another.")
    assert error.exception == "backend.base.errors.BadInput"


@pytest.mark.parametrize(
    "exit", [SystemExit(3), RecursionError("deep"), StopIteration(), asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()]
)
def test_whatever_a_node_raises_the_executor_does_not(exit: BaseException) -> None:
    def run(ctx: Any) -> None:
        raise exit

    bench = Bench(kind("Bad", run, outputs=0))
    assert bench.run({"1": node("Bad")}).status == "error"
    assert bench.run(CHAIN).status == "success"


def test_running_out_of_memory_frees_and_advises() -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    freed: list[int] = []

    def run(ctx: Any, a: Any) -> None:
        raise OutOfMemory("No room.") if a else OutOfMemoryError("CUDA out of memory")

    bench = Bench(kind("Big", run, "a", outputs=0), on_out_of_memory=lambda: freed.append(1))
    error = bench.run({"1": node("Big", a=0)}).error
    assert error is not None and "smaller" in error.hint
    bench.run({"1": node("Big", a=1)})
    assert freed == [1, 1]


def test_a_node_that_ran_out_of_memory_is_called_once_more_with_less_kept() -> None:
    needs, tightened, freed = [2], [], []

    def run(ctx: Any) -> int:
        if needs[0]:
            needs[0] -= 1
            raise MemoryError
        return 5

    def tighten() -> str:
        tightened.append(1)
        return "tried again with less"

    bench = Bench(kind("Big", run), tighten=tighten, on_out_of_memory=lambda: freed.append(1))
    graph = {"1": node("Big"), "2": node("Show", a="#1")}
    assert bench.run(graph).status == "error" and (tightened, freed) == ([1], [1])
    needs[0] = 1
    assert bench.run(graph).status == "success" and bench.shown() == {"2": {"text": ["5"]}}
    assert [e.text for e in bench.of(ev.NodeLog)] == ["tried again with less"] and (len(tightened), freed) == (2, [1])
    needs[0] = -1
    assert bench.run(CHAIN).status == "success" and len(tightened) == 2


def test_what_the_rest_of_the_graph_reads_is_known_through_what_it_is_made_of() -> None:
    seen: dict[str, list[Any]] = {}

    def look(ctx: Any, a: Any = None, b: Any = None) -> Any:
        seen[ctx.node] = list(bench.executor.ahead())
        return a

    bench = Bench(kind("Look", look, "a? b?"))
    graph = {
        "1": node("Value", a="first"),
        "2": node("Value", a="second"),
        "3": node("Look", a="#1", b="#2"),
        "4": node("Value", a="#2", b="#3"),  # stands for a patch: what it gives is made of what 2 gave
        "5": node("Look", a="#4"),
        "6": node("Show", a="#5"),
        "7": node("Show", a="#1"),
    }
    assert bench.run(graph).status == "success"
    assert "second" in seen["3"] and set(seen["3"]) <= {"first", "second"}
    assert list(bench.executor.ahead()) == []


def test_a_library_that_ran_out_of_memory_is_put_in_words() -> None:
    def run(ctx: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 13194139533312 bytes.")

    error = Bench(kind("Big", run, outputs=0)).run({"1": node("Big")}).error
    assert error is not None and error.hint
    assert error.message == "This node needs more memory than there is: it asked for 13,194.1 GB at once."


def test_a_problem_explains_itself_without_a_traceback() -> None:
    def run(ctx: Any) -> None:
        raise BadInput("The mask is empty.", hint="Draw one.")

    error = Bench(kind("Mask", run, outputs=0)).run({"1": node("Mask")}).error
    assert error is not None and (error.message, error.hint, error.traceback) == ("The mask is empty.", "Draw one.", ())


def test_the_input_a_problem_is_about_is_named() -> None:
    def run(ctx: Any, said: bool) -> None:
        raise BadInput("Input `mask` is empty." if said else "It is empty.", input="mask")

    bench = Bench(kind("Mask", run, "said", outputs=0))
    messages = [error.message for said in (0, 1) if (error := bench.run({"1": node("Mask", said=said)}).error)]
    assert messages == ["Input `mask`: It is empty.", "Input `mask` is empty."]


def test_a_node_that_returns_the_wrong_thing_is_named() -> None:
    bench = Bench(kind("Bad", lambda ctx: 5, outputs=2))
    error = bench.run({"1": node("Bad"), "2": node("Show", a="#1")}).error
    assert error is not None and (error.node, "Bad returned int" in error.message) == ("1", True)


# -- cancelling


def test_a_cancelled_run_stops_before_the_next_node() -> None:
    flag = {"on": False}
    bench = Bench(kind("Cancel", lambda ctx, a: flag.update(on=True) or a, "a"))
    document = {"1": node("Value", a=1), "2": node("Cancel", a="#1"), "3": node("Show", a="#2")}
    outcome = bench.run(document, cancelled=lambda: flag["on"])
    assert outcome.status == "interrupted"
    last = bench.events[-1]
    assert isinstance(last, ev.RunInterrupted) and (last.node, last.node_type, last.executed) == ("3", "Show", ("1", "2"))


def test_progress_is_where_a_node_notices() -> None:
    steps: list[int] = []

    def run(ctx: Any) -> None:
        for i in range(100):
            ctx.progress(i + 1, 100, Preview(lambda: ("png", b"")))
            steps.append(i)

    bench = Bench(kind("Slow", run, outputs=0))
    assert bench.run({"1": node("Slow")}, cancelled=lambda: len(steps) == 5).status == "interrupted"
    assert len(steps) == 5
    assert [(e.value, e.total, e.preview is not None) for e in bench.of(ev.Progress)] == [(i + 1, 100, True) for i in range(5)]


def test_interrupted_may_be_raised_by_anyone() -> None:
    def run(ctx: Any) -> None:
        raise Interrupted

    bench = Bench(kind("Stop", run, outputs=0))
    assert bench.run({"1": node("Stop")}).status == "interrupted"


# -- blockers


def test_a_blocker_stops_its_readers_and_the_run_goes_on() -> None:
    bench = Bench(kind("Block", lambda ctx, a: Blocker(a), "a"))
    document = {
        "1": node("Block", a="not today"),
        "2": node("Add", a="#1", b=1),
        "3": node("Show", a="#2"),
        "4": node("Value", a=5),
        "5": node("Show", a="#4"),
    }
    assert bench.run(document).status == "success"
    assert set(bench.ran) == {"4", "5"} and bench.shown() == {"5": {"text": ["5"]}}
    (blocked,) = bench.of(ev.NodeBlocked)
    assert (blocked.node, blocked.node_type, blocked.message) == ("2", "Add", "Execution Blocked: not today")


def test_a_silent_blocker_says_nothing_and_only_blocks_its_slot() -> None:
    bench = Bench(kind("Half", lambda ctx: (Blocker(), 7), outputs=2))
    bench.run({"1": node("Half"), "2": node("Show", a="#1:0"), "3": node("Show", a="#1:1")})
    assert bench.ran == ["3"] and bench.of(ev.NodeBlocked) == []


def test_blockers_block_single_calls_of_a_mapped_node() -> None:
    bench = Bench(kind("Odd", lambda ctx, a: Blocker() if a % 2 else a, "a"))
    bench.run(
        {
            "1": node("List", a={"__value__": [1, 2, 3, 4]}),
            "2": node("Odd", a="#1"),
            "3": node("Add", a="#2", b=100),
            "4": node("Show", a="#3"),
        }
    )
    assert bench.shown() == {"4": {"text": ["102", "104"]}}


# -- showing


def test_ui_results_and_shown_items_are_joined() -> None:
    def run(ctx: Any, a: Any) -> Any:
        ctx.show("text", ["first"])
        return Ui({"text": ["second"], "animated": (True,), "odd": {"x": float("nan"), "p": object}}, a)

    bench = Bench(kind("Both", run, "a"))
    bench.run({"1": node("Both", a=1), "2": node("Show", a="#1")})
    shown = bench.shown()
    assert shown["1"]["text"] == ["second", "first"] and shown["1"]["animated"] == [True] and shown["2"] == {"text": ["1"]}


# -- the current node


def test_code_below_a_node_can_find_its_context() -> None:
    seen: list[Any] = []
    bench = Bench(kind("Deep", lambda ctx: seen.append(CURRENT.get() is ctx), outputs=0))
    bench.run({"1": node("Deep")})
    assert seen == [True] and CURRENT.get() is None


# -- size


def test_ten_thousand_nodes() -> None:
    document = (
        {"0": node("Value", a=0)} | {str(i): node("Add", a=f"#{i - 1}", b=1) for i in range(1, 10_000)} | {"s": node("Show", a="#9999")}
    )
    bench = Bench()
    began = time.process_time()
    assert bench.run(document).status == "success"
    assert bench.shown() == {"s": {"text": ["9999"]}}
    bench.run(document)
    assert bench.ran == [] and time.process_time() - began < 10
