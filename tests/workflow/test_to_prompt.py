"""The editor's rules, one by one."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest

from backend.base.errors import BadFile, BadInput
from backend.workflow.document import Workflow
from tests.workflow.build import convert, inputs, node, subgraph, workflow

LOAD = node(1, "Load", outputs=["MODEL", "CLIP"], values=["b"])


def sample(link: int | None, values: Any = None, id: int = 2, **more: Any) -> dict[str, Any]:
    return node(id, "Sample", [("model", "MODEL", link)], ["LATENT"], [5, "fixed", 30, 7.5, "lcm"] if values is None else values, **more)


def test_values_find_their_names_past_the_entries_of_the_editor() -> None:
    found = inputs(workflow([LOAD, sample(1)], [[1, 1, 0, 2, 0, "MODEL"]]))
    assert found["2"] == {"seed": 5, "steps": 30, "cfg": 7.5, "sampler_name": "lcm", "model": ["1", 0]}
    assert found["1"] == {"name": "b"}


def test_what_a_file_leaves_out_has_its_default() -> None:
    assert inputs(workflow([sample(None, [5])], []))["2"] == {"seed": 5, "steps": 20, "cfg": 8.0, "sampler_name": "euler"}


def test_values_by_name_win_over_places() -> None:
    raw = workflow([sample(None, [1, "fixed", 2], widgets_values_named={"steps": 9, "seed": 4, "control_after_generate": "fixed"})], [])
    assert inputs(raw)["2"] == {"seed": 4, "steps": 9, "cfg": 8.0, "sampler_name": "euler"}
    assert inputs(workflow([sample(None, {"steps": 11, "videopreview": {}})], []))["2"]["steps"] == 11


def test_old_spellings() -> None:
    assert inputs(workflow([sample(None, [5, True, 30, 7.5, "sample_lcm"])], []))["2"]["sampler_name"] == "lcm"
    assert convert(workflow([node(1, "T2IAdapterLoader")], [])).prompt["1"]["class_type"] == "ControlNetLoader"


def test_entries_for_sockets_that_old_editors_saved_are_dropped() -> None:
    with_dummy = inputs(workflow([node(1, "Upload", values=["p.png", "dummy", "image"])], []))
    assert with_dummy["1"] == inputs(workflow([node(1, "Upload", values=["p.png", "image"])], []))["1"] == {"image": "p.png"}


@pytest.mark.parametrize("mode", [2, 4])
def test_a_muted_source_takes_the_connection_with_it(mode: int) -> None:
    found = inputs(workflow([{**LOAD, "mode": mode}, sample(1)], [[1, 1, 0, 2, 0, "MODEL"]]))
    assert "1" not in found
    assert "model" not in found["2"]


def test_a_bypassed_node_hands_on_what_fits_its_output() -> None:
    patch = node(3, "Patch", [("a", "CLIP", 1), ("b", "MODEL", 2)], ["MODEL"], mode=4)
    links = [[1, 1, 1, 3, 0, "CLIP"], [2, 1, 0, 3, 1, "MODEL"], [3, 3, 0, 2, 0, "MODEL"]]
    assert inputs(workflow([LOAD, patch, sample(3)], links))["2"]["model"] == ["1", 0]
    nothing = node(3, "Patch", [("a", "CLIP", 1)], ["MODEL"], mode=4)
    assert "model" not in inputs(workflow([LOAD, nothing, sample(3)], links[:1] + links[2:]))["2"]


def test_a_bypassed_node_before_a_socket_of_any_type_uses_the_same_place() -> None:
    patch = node(3, "Patch", [("a", "CLIP", 1), ("b", "MODEL", 2)], ["X", "Y"], mode=4)
    reader = node(4, "Unknown", [("any", "*", 3)])
    links = [[1, 1, 1, 3, 0, "CLIP"], [2, 1, 0, 3, 1, "MODEL"], [3, 3, 1, 4, 0, "*"]]
    assert inputs(workflow([LOAD, patch, reader], links))["4"]["any"] == ["1", 0]


def test_reroutes_are_seen_through_and_notes_left_out() -> None:
    nodes = [LOAD, node(3, "Reroute", [("", "*", 1)], ["*"]), node(4, "Note", values=["hi"]), sample(2)]
    found = inputs(workflow(nodes, [[1, 1, 0, 3, 0, "*"], [2, 3, 0, 2, 0, "*"]]))
    assert found.keys() == {"1", "2"}
    assert found["2"]["model"] == ["1", 0]


def test_a_primitive_gives_its_value_also_through_a_reroute() -> None:
    primitive = node(7, "PrimitiveNode", outputs=["INT"], values=[77, "fixed"])
    reroute = node(8, "Reroute", [("", "*", 1)], ["*"])
    target = node(2, "Sample", [("steps", "INT", 2, "steps"), ("seed", "INT", 3, "seed")], values=[1, "fixed", 2, 3.0, "lcm"])
    links = [[1, 7, 0, 8, 0, "*"], [2, 8, 0, 2, 0, "INT"], [3, 7, 0, 2, 1, "INT"]]
    assert inputs(workflow([primitive, reroute, target], links))["2"] == {"seed": 77, "steps": 77, "cfg": 3.0, "sampler_name": "lcm"}


def test_the_link_of_the_input_counts_and_not_the_place_in_the_list_of_links() -> None:
    found = inputs(workflow([LOAD, node(2, "Sample", [("cond", "COND", None), ("model", "MODEL", 1)])], [[1, 1, 0, 2, 0, "MODEL"]]))
    assert found["2"]["model"] == ["1", 0]
    assert "cond" not in found["2"]


INNER = subgraph(
    "sub",
    [
        node(5, "Patch", [("model", "MODEL", 1), ("strength", "FLOAT", 3, "strength")], ["MODEL"], [0.25]),
        node(6, "Patch", [("model", "MODEL", 2), ("strength", "FLOAT", 4, "strength")], ["MODEL"], [0.5]),
    ],
    [[1, -10, 0, 5, 0], [2, 5, 0, 6, 0], [3, -10, 1, 5, 1], [4, -10, 1, 6, 1], [5, 6, 0, -20, 0]],
    ["model", "strength"],
    ["MODEL"],
)


def instance(values: Any, id: int = 9, link: int | None = 1, **more: Any) -> dict[str, Any]:
    return node(id, "sub", [("model", "MODEL", link)], ["MODEL"], values, **more)


def test_subgraphs_unfold_with_their_promoted_values() -> None:
    raw = workflow([LOAD, instance([0.75]), sample(2)], [[1, 1, 0, 9, 0, "MODEL"], [2, 9, 0, 2, 0, "MODEL"]], [INNER])
    found = inputs(raw)
    assert found["9:5"] == {"model": ["1", 0], "strength": 0.75}
    assert found["9:6"] == {"model": ["9:5", 0], "strength": 0.75}
    assert found["2"]["model"] == ["9:6", 0]
    raw["nodes"][1]["widgets_values"] = []
    assert [inputs(raw)[id]["strength"] for id in ("9:5", "9:6")] == [0.25, 0.25]  # the first one shown stands for all


def test_proxied_values_reach_inner_nodes() -> None:
    proxies = {"proxyWidgets": [["6", "strength"], ["-1", "strength"]]}
    raw = workflow([instance([0.9, 0.1], link=None, properties=proxies)], [], [{**INNER, "links": INNER["links"][:3] + INNER["links"][4:]}])
    assert {id: values["strength"] for id, values in inputs(raw).items()} == {"9:5": 0.1, "9:6": 0.9}


def test_subgraphs_nest() -> None:
    outer = subgraph("outer", [instance([0.6], 3)], [[1, -10, 0, 3, 0], [2, 3, 0, -20, 0]], ["model"], ["MODEL"])
    raw = workflow([LOAD, {**instance([]), "type": "outer"}, sample(2)], [[1, 1, 0, 9, 0, "M"], [2, 9, 0, 2, 0, "M"]], [outer, INNER])
    found = inputs(raw)
    assert found["9:3:5"] == {"model": ["1", 0], "strength": 0.6}
    assert found["2"]["model"] == ["9:3:6", 0]


def test_inside_a_muted_subgraph_nodes_count_by_their_own_mode() -> None:
    found = inputs(workflow([instance([0.5], link=None, mode=2)], [], [INNER]))
    assert found.keys() == {"9:5", "9:6"}


def test_group_nodes_run_as_their_members() -> None:
    group = {
        "nodes": [
            {"type": "Load", "index": 0, "outputs": [{"name": "MODEL", "type": "MODEL"}], "widgets_values": ["a"]},
            {"type": "Sample", "index": 1, "inputs": [{"name": "model", "type": "MODEL"}, {"name": "cond", "type": "COND"}]},
        ],
        "links": [[0, 0, 1, 0, 0, "MODEL"]],
        "external": [],
    }
    raw = workflow(
        [LOAD, node(4, "workflow>Pair", [("cond", "COND", 1)], ["CLIP", "LATENT"], ["b", 3, "fixed", 4, 5.0, "lcm"]),
         node(6, "SaveImage", [("images", "LATENT", 2)], values=["out"])],
        [[1, 1, 1, 4, 0, "COND"], [2, 4, 1, 6, 0, "LATENT"]],
        groupNodes={"Pair": group},
    )  # fmt: skip
    found = inputs(raw)
    assert found["4:0"] == {"name": "b"}
    assert found["4:1"] == {"seed": 3, "steps": 4, "cfg": 5.0, "sampler_name": "lcm", "model": ["4:0", 0], "cond": ["1", 1]}
    assert found["6"]["images"] == ["4:1", 0]


def test_texts_choose_their_first_part_or_one_by_seed() -> None:
    raw = workflow([node(1, "Text", values=["a {red|{light|dark} blue} fox // no\n\\{x\\}"])], [])
    assert inputs(raw)["1"]["text"] == "a red fox \n{x}"
    seen = {inputs(raw, seed=seed)["1"]["text"].split("\n")[0] for seed in range(40)}
    assert seen == {"a red fox ", "a light blue fox ", "a dark blue fox "}
    assert inputs(raw, seed=3) == inputs(raw, seed=3)


def test_file_names_are_filled_in() -> None:
    now = datetime(2024, 3, 5, 7, 8, 9)
    load = {**LOAD, "title": "My: Model", "properties": {"Node name for S&R": "Loader"}}
    save = node(2, "SaveImage", values=["%date:yyyy-MM-d hh%/%Loader.name%_%My: Model.name%_%nobody.x%_%year%"])
    assert inputs(workflow([load, save], []), now=now)["2"]["filename_prefix"] == "2024-03-5 07/b_b_%nobody.x%_%year%"


def test_lists_are_wrapped_so_that_they_are_no_links() -> None:
    assert inputs(workflow([node(1, "Odd", values={"points": [1, 2]})], []))["1"] == {"points": {"__value__": [1, 2]}}


def test_unknown_types_are_named_with_their_pack_and_their_values_kept_by_socket() -> None:
    sockets = [("x", "INT", None, "x"), ("y", "FLOAT", None, "y")]
    found = convert(workflow([node(1, "Odd", sockets, values=[3, "randomize", 0.5], properties={"cnr_id": "odd-pack"})], []))
    assert found.prompt["1"]["inputs"] == {"x": 3, "y": 0.5}
    assert found.missing == {"Odd": ("odd-pack", ("1",))}
    lost = convert(workflow([node(1, "Odd", sockets[:1], values=[3, 4, 5])], []))
    assert lost.prompt["1"]["inputs"] == {}
    assert "Odd" in lost.notes[0]


def test_values_edited_in_the_list_alone_are_named() -> None:
    named = {"seed": 4, "steps": 9, "cfg": 7.5, "sampler_name": "lcm"}

    def notes(values: list[Any]) -> list[str]:
        return list(convert(workflow([sample(None, values, widgets_values_named=named)], [])).notes)

    assert not notes([4, "fixed", 9, 7.5, "lcm"]), "they agree"
    assert not notes([5, "fixed", 9]), "another count: the type has changed since"
    (said,) = notes([5, "fixed", 9, 7.5, "lcm"])
    assert "seed" in said and "steps" not in said and "widgets_values_named" in said


def test_nodes_come_after_what_they_need() -> None:
    raw = workflow([sample(1), LOAD], [[1, 1, 0, 2, 0, "MODEL"]])
    assert list(convert(raw).prompt) == ["1", "2"]


def test_a_circle_of_reroutes_is_named() -> None:
    nodes = [node(3, "Reroute", [("", "*", 1)], ["*"]), node(4, "Reroute", [("", "*", 2)], ["*"]), sample(3)]
    with pytest.raises(BadInput, match="circle"):
        convert(workflow(nodes, [[1, 4, 0, 3, 0, "*"], [2, 3, 0, 4, 0, "*"], [3, 3, 0, 2, 0, "*"]]))


def test_a_circle_of_nodes_is_left_for_validation() -> None:
    nodes = [node(1, "Patch", [("model", "MODEL", 2)], ["MODEL"]), node(2, "Patch", [("model", "MODEL", 1)], ["MODEL"])]
    found = inputs(workflow(nodes, [[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 1, 0, "MODEL"]]))
    assert (found["1"]["model"], found["2"]["model"]) == (["2", 0], ["1", 0])


def test_a_subgraph_in_itself_and_one_that_explodes_are_refused() -> None:
    with pytest.raises(BadInput, match="contains itself"):
        convert(workflow([node(1, "s")], [], [subgraph("s", [node(1, "s")], [], [], [])]))
    tower = [subgraph(f"s{i}", [node(1, f"s{i + 1}"), node(2, f"s{i + 1}")], [], [], []) for i in range(40)]
    begun = time.process_time()
    with pytest.raises(BadInput, match="100,000"):
        convert(workflow([node(1, "s0")], [], tower))
    assert time.process_time() - begun < 20


def test_two_nodes_with_one_id_are_named() -> None:
    with pytest.raises(BadInput, match="'1'"):
        convert(workflow([LOAD, LOAD], []))


def test_long_chains_take_linear_time() -> None:
    count = 10_000
    chain = [node(i, "Reroute", [("", "*", i - 1)], ["*"]) for i in range(2, count)]
    readers = [sample(count - 1, id=count + i) for i in range(2000)]
    links = [[i, i, 0, i + 1, 0, "*"] for i in range(1, count)]
    begun = time.process_time()
    found = inputs(workflow([LOAD, *chain, *readers], links))
    assert all(found[str(count + i)]["model"] == ["1", 0] for i in range(2000))
    assert time.process_time() - begun < 20


@pytest.mark.parametrize("text", ["/*" * 500_000, "{" * 1_000_000, "{a|" * 300_000, "{a|b}" * 200_000, "%a.b" * 200_000, "//\n" * 300_000])
def test_hostile_texts_take_linear_time(text: str) -> None:
    begun = time.process_time()
    inputs(workflow([node(1, "Text", values=[text]), node(2, "SaveImage", values=[text])], []), seed=1)
    assert time.process_time() - begun < 20


@pytest.mark.parametrize(
    "raw",
    [
        [], {}, {"nodes": {}}, {"nodes": [3]}, {"nodes": [{"id": 1}]}, {"nodes": [{"type": "X", "id": [1]}]}, {"nodes": [], "links": 5},
        {"nodes": [], "links": [[1, 2]]}, {"nodes": [], "links": [["a", None, 0, 1, 0, "X"]]}, {"nodes": [], "links": [7]},
        {"nodes": [], "definitions": {"subgraphs": [4]}}, {"nodes": [], "definitions": {"subgraphs": [{"id": "x"}]}},
    ],
)  # fmt: skip
def test_damaged_files_are_said_to_be_damaged(raw: Any) -> None:
    with pytest.raises(BadFile):
        Workflow.parse(raw)


@pytest.mark.parametrize(
    "raw",
    [
        {"nodes": [], "links": None}, {"nodes": [], "links": [None]}, {"nodes": [{"id": 1, "type": "X", "inputs": "?", "outputs": [4]}]},
        {"nodes": [{"id": "a", "type": "Load", "widgets_values": "?", "properties": [], "mode": "x"}], "links": {}},
        {"nodes": [{"id": 1, "type": "X", "inputs": [None, {"name": 4, "link": [1]}]}], "extra": 5, "definitions": []},
    ],
)  # fmt: skip
def test_oddities_are_no_obstacle(raw: Any) -> None:
    opened = Workflow.parse(raw)
    assert opened.to_json()["nodes"] == raw["nodes"]
    convert(raw)
