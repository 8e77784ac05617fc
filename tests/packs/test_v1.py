from __future__ import annotations

from typing import Any

import pytest

from backend.base import events as ev
from backend.base.errors import BadFile
from backend.base.jsonable import dumps
from backend.engine.executor import Executor, Job
from backend.graph.describe import object_info
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.graph.validate import Checked, validate
from backend.packs.v1 import node_type


class AnyType(str):
    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


ANY = AnyType("*")


class Every(dict[str, Any]):
    """An optional section that claims to hold every name."""

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: str) -> Any:
        return (ANY,)


class Number:
    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"n": ("INT", {"default": 1, "min": 0, "max": 9, "tooltip": "t", "mine": {"x": 1}})}}

    RETURN_TYPES = ("INT",)
    RETURN_NAMES = ("n",)
    OUTPUT_TOOLTIPS = ("the number",)
    FUNCTION = "give"
    CATEGORY = "toy"
    DESCRIPTION = "Gives a number."

    def give(self, n: int) -> tuple[int]:
        return (n,)


class Show:
    """Counts its own runs on `self`, as packs do."""

    def __init__(self) -> None:
        self.count = 0

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"value": (ANY, {"forceInput": True}), "mode": (["a", "b"],)},
            "optional": {"more": ("INT,FLOAT", {})},
            "hidden": {"prompt": "PROMPT", "me": "UNIQUE_ID", "dyn": "DYNPROMPT", "extra": "EXTRA_PNGINFO", "other": "NOT_KNOWN"},
        }

    RETURN_TYPES = ()
    FUNCTION = "show"
    OUTPUT_NODE = True

    def show(self, value: Any, mode: str, prompt: Any, me: str, dyn: Any, extra: Any, more: Any = None) -> dict[str, Any]:
        self.count += 1
        assert prompt == dyn.get_original_prompt() and dyn.get_display_node_id(me) == me and dyn.has_node(me)
        return {"ui": {"text": (str(value), mode, me, str(more), str(self.count), str(extra))}}


class Echo:
    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}, "optional": Every()}

    RETURN_TYPES = (ANY, "DICT")
    FUNCTION = "echo"

    def echo(self, **given: Any) -> Any:
        return given.get("x"), given


class Listy:
    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"n": ("INT", {}), "k": ("INT", {})}}

    RETURN_TYPES = ("INT", ["x", "y"])
    INPUT_IS_LIST = True
    OUTPUT_IS_LIST = (True, False)
    FUNCTION = "go"

    def go(self, n: list[int], k: list[int]) -> Any:
        return [v * k[0] for v in n] + [0], "x"

    @classmethod
    def IS_CHANGED(cls, n: Any, k: Any) -> Any:
        assert n == [None] and k == [3]
        return "same"

    @classmethod
    def VALIDATE_INPUTS(cls, k: Any) -> Any:
        return True if k == [3] else f"k is {k}"


class Odd:
    """Returns whatever it is told to."""

    returned: Any = None

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"n": ("INT", {"lazy": True})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "go"

    def check_lazy_status(self, n: Any) -> list[str]:
        return ["n"]

    async def go(self, n: int) -> Any:
        return Odd.returned(n)

    @classmethod
    def IS_CHANGED(cls, **given: Any) -> float:
        return float("nan")


class Tagged:
    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"a": ("IMAGE",), "s": ("STRING", {"max": 1})}}

    RETURN_TYPES = ()
    FUNCTION = "go"
    OUTPUT_NODE = True

    def go(self, a: Any, s: Any) -> Any:
        return {}

    @staticmethod
    def VALIDATE_INPUTS(input_types: dict[str, str], **given: Any) -> Any:
        return input_types.get("a") == "INT" or f"got {sorted(given)} {input_types}"


CLASSES = {c.__name__: c for c in (Number, Show, Echo, Listy, Odd, Tagged)}
REGISTRY = Registry(node_type(id, cls, title=f"The {id}", module="custom_nodes.toy") for id, cls in CLASSES.items())


class Bench:
    def __init__(self) -> None:
        self.events: list[ev.Event] = []
        self.executor = Executor(REGISTRY, self.events.append)

    def run(self, raw: dict[str, Any], **extra: Any) -> Any:
        self.events.clear()
        checked = check(raw)
        assert checked.error is None, checked.node_errors
        outcome = self.executor.run(Job("j", checked.prompt, checked.targets, extra))
        if outcome.error is not None:
            return outcome.error
        shown = [(e.node, e.output) for e in self.events if isinstance(e, ev.NodeShown)]
        shown += [pair for e in self.events if isinstance(e, ev.NodesAgain) for pair in zip(e.nodes, e.outputs)]
        return {id: output["text"] if output else None for id, output in shown}


def check(raw: dict[str, Any]) -> Checked:
    return validate(Prompt.parse(raw), REGISTRY)


def n(type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": type, "inputs": inputs}


def test_the_published_form() -> None:
    info = object_info(REGISTRY["Number"], lambda f: [])
    assert info == {
        "input": {"required": {"n": ["INT", {"default": 1, "min": 0, "max": 9, "tooltip": "t", "mine": {"x": 1}}]}},
        "input_order": {"required": ["n"]},
        "output": ["INT"],
        "output_is_list": [False],
        "output_name": ["n"],
        "output_tooltips": ["the number"],
        "name": "Number",
        "display_name": "The Number",
        "description": "Gives a number.",
        "python_module": "custom_nodes.toy",
        "category": "toy",
        "output_node": False,
    }
    show = object_info(REGISTRY["Show"], lambda f: [])
    assert show["input"]["required"] == {"value": ["*", {"forceInput": True}], "mode": [["a", "b"]]}
    assert show["input"]["optional"] == {"more": ["INT,FLOAT", {}]} and show["category"] == "sd" and show["output_node"] is True
    assert show["input"]["hidden"] == {"prompt": "PROMPT", "me": "UNIQUE_ID", "dyn": "DYNPROMPT", "extra": "EXTRA_PNGINFO"}
    listy = object_info(REGISTRY["Listy"], lambda f: [])
    assert listy["output"] == ["INT", ["x", "y"]] and listy["output_is_list"] == [True, False] and listy["output_name"] == ["INT", "COMBO"]
    dumps(info)


def test_instances_keep_their_state_and_results_stay_cached() -> None:
    bench = Bench()
    raw = {"1": n("Number", n=3), "2": n("Show", value=["1", 0], mode="a", more=["1", 0])}
    assert bench.run(raw, extra_pnginfo={"w": 1}) == {"2": ["3", "a", "2", "3", "1", "{'w': 1}"]}
    raw["2"]["inputs"]["mode"] = "b"
    assert bench.run(raw) == {"2": ["3", "b", "2", "3", "2", "None"]}
    assert bench.run(raw) == {"2": ["3", "b", "2", "3", "2", "None"]}
    assert bench.run({"1": n("Number", n=4), "9": n("Show", value=["1", 0], mode="a")})["9"][4] == "1"


def test_sections_that_hold_every_name_take_links_and_constants() -> None:
    raw = {
        "1": n("Number", n=3),
        "2": n("Echo", x=["1", 0], y=5),
        "3": n("Show", value=["2", 1], mode="a"),
        "4": n("Show", value=["2", 0], mode="a"),
    }
    shown = Bench().run(raw)
    assert (shown["3"][0], shown["4"][0]) == ("{'x': 3, 'y': 5}", "3")


def test_undeclared_constants_are_dropped_elsewhere() -> None:
    assert Bench().run({"1": n("Number", n=3, upload="image"), "2": n("Show", value=["1", 0], mode="a")})["2"][0] == "3"


def test_lists() -> None:
    raw = {"1": n("Number", n=3), "2": n("Listy", n=["1", 0], k=3), "3": n("Show", value=["2", 0], mode="a")}
    bench = Bench()
    bench.run(raw)
    shown = [e.output["text"][0] for e in bench.events if isinstance(e, ev.NodeShown) and e.output]
    assert shown == ["9"] and [e.output["text"][6] for e in bench.events if isinstance(e, ev.NodeShown) and e.output] == ["0"]
    assert bench.run(raw) and not [e for e in bench.events if isinstance(e, ev.NodeStarted)]
    raw["2"]["inputs"]["k"] = 4
    assert check(raw).node_errors["2"]["errors"][0]["details"] == "k - k is [4]"


def test_own_checks_of_types_and_ranges() -> None:
    assert check({"1": n("Number", n=3), "2": n("Tagged", a=["1", 0], s="long")}).error is None
    bad = {"1": n("Number", n=3), "3": n("Listy", n=["1", 0], k=3), "2": n("Tagged", a=["3", 1], s="x")}
    errors = check(bad).node_errors["2"]["errors"]
    assert [e["details"].split(" - ")[0] for e in errors] == ["a", "s"] and errors[0]["type"] == "custom_validation_failed"


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (lambda n: (n,), "3"),
        (lambda n: [n], "3"),
        (lambda n: {"result": (n,)}, "3"),
        (lambda n: {"ui": {"text": ["t"]}, "result": (n + 1,)}, "4"),
        (lambda n: {}, "None"),
        (lambda n: {"result": (["e", 0],), "expand": {"e": {"class_type": "Number", "inputs": {"n": 7}}}}, "7"),
    ],
)
def test_what_classes_return(returned: Any, expected: str) -> None:
    Odd.returned = returned
    raw = {"1": n("Number", n=3), "2": n("Odd", n=["1", 0]), "3": n("Show", value=["2", 0], mode="a")}
    shown = Bench().run(raw)
    assert shown["3"][0] == expected


def test_returning_nothing_is_an_error() -> None:
    Odd.returned = lambda n: None
    raw = {"1": n("Number", n=3), "2": n("Odd", n=["1", 0]), "3": n("Show", value=["2", 0], mode="a")}
    error = Bench().run(raw)
    assert error.exception == "TypeError" and "object of type 'NoneType' has no len()" in error.message and error.node == "2"


def test_what_is_no_node_class_is_named() -> None:
    class Nothing:
        pass

    class NoFunction:
        INPUT_TYPES = classmethod(lambda cls: {})
        FUNCTION = "missing"

    for cls in (Nothing, NoFunction):
        with pytest.raises(BadFile, match="X"):
            node_type("X", cls)


def test_choices_follow_the_class_at_run_and_when_refreshed() -> None:
    class Dynamic:
        names = ("a",)

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            if not cls.names:
                raise RuntimeError("no disk")
            return {"required": {"name": (list(cls.names),)}}

        RETURN_TYPES = ()
        FUNCTION = "go"

        def go(self, name: str) -> Any:
            return {}

    registry = Registry([node_type("D", Dynamic)])
    Dynamic.names = ("a", "b")
    fresh = registry.refreshed(["D", "gone"])
    assert fresh["D"].by_name["name"].kind == ("a", "b") and registry["D"].by_name["name"].kind == ("a",)
    Dynamic.names = ()
    assert fresh.refreshed(["D"]) is fresh
