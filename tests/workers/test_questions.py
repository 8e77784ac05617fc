"""Questions to the code of node packs that are never answered: the rest goes on, and who is to blame is named."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backend.base.errors import Problem
from backend.graph.choices import FolderChoices
from backend.graph.custom import Question, answer
from backend.graph.describe import to_wire
from backend.graph.registry import Registry
from backend.graph.schema import Files, Input, NodeType
from backend.server.catalogue import Catalogue
from backend.worker import Pipe, Worker
from backend.workers.local import WorkerAway


class Describing(Worker):
    """Only what it knows of node types."""

    def __init__(self, **refresh: Any) -> None:
        self.registry = cast(Any, {id: SimpleNamespace(refresh=f) for id, f in refresh.items()})
        self._described = dict.fromkeys(refresh)
        self._describing = ""


def test_a_type_that_does_not_say_what_its_inputs_are_is_not_asked_again() -> None:
    held, began = threading.Event(), threading.Event()

    def stuck() -> Any:
        began.set()
        held.wait()
        raise KeyboardInterrupt

    worker = Describing(Slow=stuck, Exits=lambda: sys.exit(1))
    asking = threading.Thread(target=worker._refresh, args=(None,))
    asking.start()
    began.wait()
    with pytest.raises(Problem, match="Slow has not yet said"):
        worker._refresh(None)
    held.set()
    asking.join()
    assert worker._refresh(None) == [], "what it raises, exits included, leaves the last description"


def test_types_are_heard_while_the_worker_starts_and_known_when_it_is_ready() -> None:
    def described(id: str, title: str, **more: Any) -> dict[str, Any]:
        return to_wire(NodeType(id, title, "tests", "", (Input("file", Files("loras")), Input("width", "INT")), (), None)) | more

    async def follow() -> None:
        catalogue = Catalogue(cast(FolderChoices, None), print)
        await catalogue.hear([described("Gone", "of a pack at which the worker died", dynamic=True)])
        catalogue.forget()
        await catalogue.hear([described("A", "first"), described("B", "b")])
        await catalogue.hear([described("A", "grown")])
        assert not catalogue.ready.is_set() and not catalogue.registry
        catalogue.learn()
        assert catalogue.ready.is_set() and {id: t.title for id, t in catalogue.registry.items()} == {"A": "grown", "B": "b"}
        assert catalogue.sizing == {"A", "B"}
        await catalogue.hear([described("B", "of the next worker")])
        catalogue.learn()
        assert list(catalogue.registry) == ["B"] and catalogue.sizing == {"B"}

    asyncio.run(follow())


def test_checks_that_are_not_answered_name_their_nodes() -> None:
    async def call(*args: Any) -> Any:
        raise WorkerAway("No answer.", hint="Try again.")

    async def ask() -> None:
        catalogue = Catalogue(cast(FolderChoices, None), print)
        catalogue.worker = cast(Any, SimpleNamespace(ready=asyncio.Event(), call=call))
        catalogue.worker.ready.set()
        with pytest.raises(WorkerAway, match=r"No answer. .*: Sleeps"):
            await catalogue._ask([Question("1", "Sleeps", {}, {})])

    asyncio.run(ask())


def test_checks_wait_for_a_worker_that_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def call(*args: Any) -> Any:
        return [True]

    async def ask() -> None:
        catalogue = Catalogue(cast(FolderChoices, None), print)
        catalogue.worker = cast(Any, SimpleNamespace(ready=asyncio.Event(), call=call))
        asyncio.get_running_loop().call_later(0.01, catalogue.worker.ready.set)
        assert await catalogue._ask([Question("1", "A", {}, {})]) == [True]
        catalogue.worker.ready.clear()
        monkeypatch.setattr("backend.server.catalogue.ASK_WAIT_S", 0.01)
        with pytest.raises(Problem, match="starting again"):
            await catalogue._ask([Question("1", "A", {}, {})])

    asyncio.run(ask())


def test_a_check_that_interrupts_answers_with_that() -> None:
    def check(**values: Any) -> bool:
        raise KeyboardInterrupt

    registry = cast(Registry, {"A": SimpleNamespace(validate=check, validates_types=False)})
    (said,) = answer(registry, [Question("1", "A", {}, {})])
    assert said["exception_type"] == "KeyboardInterrupt"


def test_code_that_lacks_a_key_is_no_method_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[dict[str, Any]] = []
    pipe: Any = Pipe.__new__(Pipe)
    pipe.answers, pipe.outbox = {"ask": lambda args: args["model"]}, SimpleNamespace(message=said.append)
    for method in ("ask", "sing"):
        pipe._answer({"rid": 1, "method": method, "args": {}})
    assert [reply["value"] for reply in said] == ["KeyError: 'model'", "The worker is still starting, or knows no method 'sing'."]
    assert "KeyError" in capsys.readouterr().err and not any(reply["ok"] for reply in said)
