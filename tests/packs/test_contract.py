"""A pack written from the published contract alone, with every feature of the class form; each is seen through validation and executor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from backend.base.events import NodeBlocked, NodeStarted
from backend.graph.describe import object_info
from backend.packs.core_nodes import choices
from backend.packs.loader import module_name, run_prestartup
from tests.packs.home import Home, node
from tests.packs.test_modelled import opened


@pytest.fixture
def contract(home: Home) -> Iterator[Home]:
    home.add("contract_class")
    run_prestartup(home.bench.folders, home.bench.services.settings)
    yield opened(home)
    os.environ.pop("CONTRACT_PRESTARTED", None)


def module(home: Home) -> Any:
    return sys.modules[module_name(home.packs_at / "contract_class")]


def ran(home: Home, value: Any = None, **graph: Any) -> Any:
    """What `n` of a graph gives to an output node."""
    home.ran({**graph, "out": node("ContractGather", values=["n", 0])})
    return home.results("out")[0][0]


ATTRIBUTES = {
    "whole": 3, "real": 0.25, "text": "t", "flag": True, "old": "x", "new": "p", "remote": "far", "picture": "none", "socket": ["f", 0],
}  # fmt: skip


def test_attributes_options_and_hidden_values(contract: Home) -> None:
    t = contract.registry["ContractAttributes"]
    info = object_info(t, choices)
    types: Any = module(contract).Attributes.INPUT_TYPES()
    for group in ("required", "optional"):
        assert info["input"][group] == {name: list(spec) for name, spec in types[group].items()}, "options pass as they are"
        assert info["input_order"][group] == list(types[group])
    assert info["input"]["hidden"] == types["hidden"]
    assert info["output"] == ["STRING", ["a", "b"], "INT"] and info["output_name"] == ["summary", "choice", "numbers"]
    assert info["output_is_list"] == [False, False, True] and info["output_tooltips"] == ["in words", "one of two", "many"]
    assert {k: info[k] for k in ("name", "display_name", "description", "category", "python_module")} == {
        "name": "ContractAttributes", "display_name": "All attributes", "description": "Has every attribute.", "category": "contract/class",
        "python_module": "custom_nodes.contract_class",
    }  # fmt: skip
    assert info["output_node"] and info["deprecated"] and info["experimental"] and info["api_node"]
    plain = object_info(contract.registry["ContractState"], choices)
    assert plain["category"] == "sd" and plain["output_name"] == ["INT"] and "deprecated" not in plain

    graph = {
        "1": node("ContractAttributes", **ATTRIBUTES),
        "f": node("PrimitiveFloat", value=1.5),
        "2": node("ContractGather", values=["1", 2]),
    }
    contract.ran(graph, extra_pnginfo={"workflow": {}})
    assert contract.shown("1")["text"] == ["3 0.25 t True x p far 1.5 1 {'workflow': {}} []"]
    assert contract.shown("2")["text"] == ["[1, 2, 3]"]
    missing = {k: v for k, v in ATTRIBUTES.items() if k != "whole"}
    for inputs, kind in (
        (missing, "required_input_missing"), ({**ATTRIBUTES, "whole": 10}, "value_bigger_than_max"),
        ({**ATTRIBUTES, "real": -1}, "value_smaller_than_min"), ({**ATTRIBUTES, "old": "z"}, "value_not_in_list"),
        ({**ATTRIBUTES, "whole": "many"}, "invalid_input_type"),
    ):  # fmt: skip
        checked = contract.check({**graph, "1": node("ContractAttributes", **inputs)})
        assert [e["type"] for e in checked.node_errors["1"]["errors"]] == [kind]


def test_instances_choices_and_inputs_nobody_declared(contract: Home) -> None:
    assert [ran(contract, n=node("ContractState")) for _ in range(3)] == [[1], [2], [3]]
    with_state = {"n": node("ContractState"), "out": node("ContractGather", values=["n", 0])}
    contract.ran({"other": node("ContractShow", value=1)})
    contract.ran(with_state)
    assert contract.results("out")[0][0] == [1], "an instance lives as long as its node stays"

    module(contract).CHOICES[:] = ["c"]
    graph = {"n": node("ContractDynamic", choice="c", link=["i", 0], constant=5), "i": node("PrimitiveInt", value=7)}
    t = contract.registry["ContractDynamic"].refresh
    assert t is not None and object_info(t(), choices)["input"]["required"]["choice"] == [["c"]]
    contract.registry = contract.registry.with_types([t()], replace=True)
    assert ran(contract, **graph) == ["c {'link': 7}"]
    everything = node("ContractAnything", first=2, second=["i", 0], third="x")
    assert ran(contract, n=everything, i=graph["i"]) == [{"first": 2, "second": 7, "third": "x"}]


def test_which_links_fit(contract: Home) -> None:
    def fits(slot: int, name: str, source: str = "p") -> bool:
        graph = {
            "p": node("ContractPlain"), "w": node("ContractAnything"), "i": node("PrimitiveInt", value=1),
            "n": node("ContractPlain", **{name: [source, slot]}), "out": node("ContractShow", value=["n", 0]),
        }  # fmt: skip
        checked = contract.check(graph)
        return checked.error is None and not checked.node_errors

    assert fits(0, "star") and not fits(0, "real", "i") and not fits(0, "star", "i"), "a plain star fits itself alone"
    assert fits(1, "either") and fits(0, "either", "i") and not fits(2, "either")
    assert fits(2, "combo") and not fits(0, "combo", "i")
    assert all(fits(0, name, "w") for name in ("star", "either", "combo", "real")), "a wildcard fits all"


def test_lists(contract: Home) -> None:
    three, two = node("ContractNumbers", n=3), node("ContractNumbers", n=2)
    assert ran(contract, a=three, b=two, n=node("ContractPair", a=["a", 0], b=["b", 0])) == ["00", "11", "21"]
    graph = {"a": three, "1": node("ContractGather", values=["a", 1], label="end"), "2": node("ContractShow", value=["a", 0])}
    contract.ran(graph)
    assert contract.shown("1")["text"] == ["[None, 'end']"], "a result that was not returned is None"
    assert contract.shown("2") == {"text": ["0", "1", "2"], "letters": ["0", "1", "2"]}
    calls = module(contract).CALLS
    calls.clear()
    assert ran(contract, a=three, n=node("ContractLater", n=["a", 0])) == [0, 10, 20]
    assert calls[:3] == ["begin 0", "begin 1", "begin 2"]


def test_what_nodes_return(contract: Home) -> None:
    contract.ran({"1": node("ContractQuiet", value=1), "2": node("ContractShow", value="abcdef")})
    assert contract.shown("1") == {} and contract.shown("2") == {"text": ["abcdef"], "letters": ["a", "b", "c"]}
    outcome = contract.run({"1": node("ContractNothing", value=1)})
    assert outcome.error is not None and "NoneType" in outcome.error.message


def test_lazy_raw_and_fingerprints(contract: Home) -> None:
    sources = {"i": node("PrimitiveInt", value=5), "s": node("ContractState")}
    assert ran(contract, n=node("ContractLazy", want="a", a=["i", 0], b=["s", 0]), **sources) == [5]
    assert "s" not in {e.node for e in contract.of(NodeStarted)}
    assert ran(contract, n=node("ContractLazy", want="ab", a=["i", 0], b=["s", 0]), **sources) == [6]
    outcome = contract.run({"n": node("ContractLazy", want="b", a=["i", 0]), **sources, "out": node("ContractShow", value=["n", 0])})
    assert outcome.error is not None and "b" in outcome.error.message
    assert ran(contract, n=node("ContractRaw", link=["i", 0]), **sources) == ["['i', 0]"]

    calls, changed = module(contract).CALLS, module(contract).Changed
    graph = {"n": node("ContractChanged", n=1, linked=["i", 0]), "same": node("ContractChanged", n=1, linked=["i", 0]), **sources}
    graph["x"] = node("ContractShow", value=["same", 0])
    calls.clear()
    assert ran(contract, **graph) == ["one"] and calls == ["changed 1"], "equal nodes run once"
    assert ran(contract, **graph) == ["one"] and calls == ["changed 1"]
    changed.WORD = "two"
    assert ran(contract, **graph) == ["two"] and calls == ["changed 1"] * 2
    graph = {**graph, "n": node("ContractOwn", n=1, linked=["i", 0]), "same": node("ContractOwn", n=1, linked=["i", 0])}
    calls.clear()
    ran(contract, **graph)
    assert calls == ["changed 1"] * 2, "nodes that are not idempotent run each for itself"


def test_own_validation(contract: Home) -> None:
    def faults(kind: str, **inputs: Any) -> list[str]:
        graph = {"n": node(kind, **inputs), "i": node("PrimitiveInt", value=1), "f": node("PrimitiveFloat", value=1.0)}
        checked = contract.check({**graph, "out": node("ContractShow", value=["n", 0])})
        found = checked.node_errors.get("n", {"errors": []})["errors"]
        return [f"{e['type']} {e['details']}" for e in found]

    assert faults("ContractChecks", n=9, m=1, linked=["i", 0]) == [], "it looks at the range and the type by itself"
    assert faults("ContractChecks", n=1, m=9) and "bigger" in faults("ContractChecks", n=1, m=9)[0]
    assert "thirteen" in faults("ContractChecks", n=13, m=1)[0]
    assert "no FLOAT" in faults("ContractChecks", n=1, m=1, linked=["f", 0])[0]
    assert faults("ContractChecksAll", n=99, m=99) == [] and len(faults("ContractChecksAll", n=1, m=99)) == 2


def test_expansion_and_blocking(contract: Home) -> None:
    readers = {"1": node("ContractShow", value=["n", 0]), "2": node("ContractShow", value=["n", 1])}
    contract.ran({"n": node("ContractExpand", n=4), **readers})
    assert contract.shown("1")["text"] == ["40"] and contract.shown("2")["text"] == ["4"]
    assert any(e.display == "n" and e.node != "n" for e in contract.of(NodeStarted)), "a node inside shows under the visible one"
    for how, blocked in (("none", []), ("one", ["1"]), ("silent", []), ("all", ["1", "2"])):
        contract.ran({"n": node("ContractBlock", how=how), **readers})
        assert sorted(e.node for e in contract.of(NodeBlocked)) == blocked, how
        assert bool(contract.shown("1")) is (how == "none") and bool(contract.shown("2")) is (how in ("none", "one", "silent"))
