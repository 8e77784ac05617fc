"""Packs modelled on what real ones do: their nodes run through the executor, not only import."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from backend.base.events import NodeBlocked, NodeStarted, Progress
from backend.graph.describe import from_wire, object_info, to_wire
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.graph.validate import validate
from backend.packs.core_nodes import choices
from backend.packs.loader import module_name
from tests.packs.home import Home, node, sampled


def opened(home: Home, *packs: str) -> Home:
    home.model()
    for pack in packs:
        home.add(pack)
    home.start()
    assert home.loaded.packs and not any(p.error for p in home.loaded.packs), [p.traceback for p in home.loaded.packs]
    assert all(not p.faults for p in home.loaded.packs), [p.faults for p in home.loaded.packs]
    return home


def test_samplers_that_register_themselves(home: Home) -> None:
    opened(home, "own_samplers")
    info = object_info(home.registry["KSampler"], choices)["input"]["required"]
    assert info["sampler_name"][0][-1] == "modelled" and info["scheduler"][0][-1] == "halves"
    home.ran(sampled())
    euler = home.results("5")[0][0]["samples"]
    home.ran(sampled(sampler_name="modelled"))
    assert torch.allclose(home.results("5")[0][0]["samples"], euler, atol=1e-4)
    assert len({p.value for p in home.of(Progress) if p.node == "5"}) == 3
    home.ran(sampled(sampler_name="modelled", scheduler="halves"))
    for way in ("sample", "common", "custom", "guider"):
        graph = sampled()
        graph["5"] = node(
            "ModelledByHand", model=["1", 0], positive=["2", 0], negative=["3", 0], latent_image=["4", 0], sampler_name="euler",
            scheduler="normal", way=way,
        )  # fmt: skip
        home.ran(graph)
        assert torch.allclose(home.results("5")[0][0]["samples"], euler, atol=1e-4), way
        assert {p.value for p in home.of(Progress) if p.node == "5"} >= {1, 2, 3}


def test_a_guider_and_a_sampler_of_a_pack_in_the_application_s_node(home: Home) -> None:
    opened(home, "own_samplers")
    home.ran(sampled())
    euler = home.results("5")[0][0]["samples"]
    graph = sampled()
    graph["g"] = node("ModelledMakeGuider", model=["1", 0], positive=["2", 0], negative=["3", 0])
    graph["n"] = node("RandomNoise", noise_seed=1)
    graph["s"] = node("BasicScheduler", model=["1", 0], scheduler="normal", steps=3, denoise=1.0)
    graph["5"] = node("SamplerCustomAdvanced", noise=["n", 0], guider=["g", 0], sampler=["g", 1], sigmas=["s", 0], latent_image=["4", 0])
    home.ran(graph)
    assert torch.allclose(home.results("5")[0][0]["samples"], euler, atol=1e-4)


def test_image_tools(home: Home) -> None:
    folder = home.bench.folders.models / "modelled"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    opened(home, "image_tools")
    assert home.bench.folders.kinds["modelled_tuple"].extensions == {".txt"}
    graph: dict[str, Any] = {
        "1": node("CheckpointLoaderSimple", ckpt_name="tiny.safetensors"),
        "i": node("EmptyImage", width=64, height=48, batch_size=1, color=0x80FF40),
        "f": node("ModelledFit", image=["i", 0], width=32, file="a.txt"),
        "p": node("ModelledPaste", under=["i", 0], over=["f", 0], mask=["f", 1]),
        "k": node("ModelledKeep", images=["p", 0]),
        "t": node("ModelledThereAndBack", clip=["1", 1], vae=["1", 2], image=["f", 0]),
        "o": node("ModelledFromPipe", pipe=["t", 0]),
        "e": node("CLIPTextEncode", text="a circle", clip=["o", 0]),
        "b": node("VAEEncode", pixels=["t", 1], vae=["o", 1]),
        "d": node("VAEDecode", samples=["b", 0], vae=["1", 2]),
        "v": node("PreviewImage", images=["d", 0]),
        "c": node("ConditioningCombine", conditioning_1=["e", 0], conditioning_2=["o", 2]),
        "a": node("PreviewAny", source=["c", 0]),
    }
    home.ran(graph)
    (kept,) = home.shown("k")["images"]
    assert kept["type"] == "temp" and (home.bench.folders.temp / kept["filename"]).is_file() and "_kept" in kept["filename"]
    assert home.results("f")[2] == [str(folder / "a.txt")]
    assert [p.value for p in home.of(Progress) if p.node == "f"] == [1, 2]


@pytest.mark.parametrize(("which", "runs"), [(1, 1), (2, 0)])
def test_lazy_switch_takes_one_branch(home: Home, which: int, runs: int) -> None:
    opened(home, "control_flow")
    count = home.registry["ModelledCount"].instance_of
    count.RUNS = 0  # type: ignore[union-attr]
    graph = {
        "1": node("ModelledCount", value=5),
        "2": node("ModelledAdd", a=1, b=2),
        "3": node("ModelledSwitch", which=which, in1=["1", 0], in2=["2", 0]),
        "4": node("ModelledSum", numbers=["3", 0]),
    }
    home.ran(graph)
    assert home.shown("4")["text"] == [f"sum {5 if which == 1 else 3}"] and runs == count.RUNS  # type: ignore[union-attr]


def test_wildcard_switches(home: Home) -> None:
    opened(home, "wildcard_switches")
    kinds = {name: f"Switch {name} (modelled)" for name in ("FirstOf", "LazySwitch", "Sort", "Convert", "Pipe")}
    sources = {
        "i": node("PrimitiveInt", value=7),
        "t": node("PrimitiveString", value="words"),
        "m": node("EmptyImage", width=8, height=8, batch_size=1, color=255),
    }
    graph = {
        **sources,
        "1": node(kinds["FirstOf"], any_02=["i", 0], any_09=["t", 0]),
        "2": node(kinds["LazySwitch"], on=False, yes=["n", 0], no=["1", 0]),
        "n": node(kinds["FirstOf"], any_1=["m", 0]),
        "3": node(kinds["Sort"], select=5, input=["2", 0]),
        "4": node(kinds["Convert"], value=["3", 4], how="json"),
        "5": node("PreviewAny", source=["4", 0]),
        "6": node("PreviewImage", images=["3", 2]),
        "7": node(kinds["Pipe"], a=["m", 0], b=["4", 0]),
        "8": node(kinds["Pipe"], pipe=["7", 0], b=["3", 4]),
        "9": node("PreviewImage", images=["8", 1]),
    }
    wired = Registry(from_wire(to_wire(t)) for t in home.registry.values())
    assert not validate(Prompt.parse(graph), wired).node_errors, "the front knows of outputs without end too"
    home.ran(graph)
    assert home.shown("5")["text"] == ["7"] and not home.shown("6") and home.shown("9")["images"]
    assert home.results("8")[2] == [7] and "n" not in {e.node for e in home.of(NodeStarted)}
    assert object_info(home.registry[kinds["Sort"]], choices)["output_name"] == ["output1"]
    wrong = home.check({**graph, "2": node(kinds["LazySwitch"], on=False, yes=["m", 0], no=["t", 0])})
    assert "one type" in str(wrong.node_errors)
    assert home.check({**graph, "4": node(kinds["Convert"], value=["m", 0], how="text")}).node_errors["4"]
    assert "5000" in str(home.check({**graph, "6": node("PreviewImage", images=["3", 5000])}).node_errors)


def test_expansions_loops_lists_and_gates(home: Home) -> None:
    opened(home, "control_flow")
    graph = {
        "1": node("ModelledSplit", text="1,2,3"),
        "2": node("ModelledTimes", value=["1", 0], n=3),
        "3": node("ModelledSum", numbers=["2", 0], label="times"),
        "4": node("ModelledWhile", value=3, until=20),
        "5": node("ModelledSum", numbers=["4", 0]),
        "6": node("ModelledGate", value=["4", 0], open=False),
        "7": node("ModelledSum", numbers=["6", 0]),
    }
    home.ran(graph)
    assert home.shown("3")["text"] == ["times 18"] and home.shown("5")["text"] == ["sum 24"] and not home.shown("7")
    wrong = home.check({**graph, "1": node("ModelledSplit", text="one")})
    assert "only numbers" in str(wrong.node_errors["1"])


def test_schema_form(home: Home) -> None:
    opened(home, "schema_form")
    info = object_info(home.registry["SchemaEverything"], choices)
    required = info["input"]["required"]
    assert required["count"] == [
        "INT", {"default": 2, "min": 0, "max": 9, "step": 1, "control_after_generate": True, "display": "slider", "tooltip": "how many"},
    ]  # fmt: skip
    assert required["colour"] == ["COMBO", {"default": "blue", "multiselect": False, "options": ["red", "blue"]}]
    assert required["text"][1] == {"default": "a", "multiline": True, "placeholder": "words", "dynamicPrompts": True}
    assert info["input"]["optional"]["either"][0] == "FLOAT,INT,STRING" and info["input"]["optional"]["image"] == ["IMAGE", {}]
    assert info["input"]["hidden"]["unique_id"] == ["UNIQUE_ID"] and set(info["input_order"]["hidden"]) == {
        "unique_id",
        "prompt",
        "extra_pnginfo",
    }
    assert info["output"] == ["STRING", "IMAGE", "MODELLED_POINT", "INT"] and info["output_is_list"] == [False, False, False, True]
    assert info["output_tooltips"][0] == "in words" and info["output_name"][0] == "Summary" and info["api_node"] is False

    everything = node("SchemaEverything", count=3, share=0.25, text="t", flag=True, colour="red")
    graph = {
        "1": everything,
        "2": node("SchemaGather", numbers=["1", 3]),
        "3": node("SchemaExpanding", n=4),
        "0": node("SchemaSlow", n=100),
        "4": node("SchemaLazy", first=False, a=["0", 0], b=["3", 0]),
        "5": node("SchemaGather", numbers=["4", 0]),
        "6": node("SchemaBlocking", n=0),
        "7": node("SchemaGather", numbers=["6", 0]),
    }
    home.ran(graph)
    assert home.results("1")[0] == ["3 0.25 t True red x 1.0 1 True"]
    assert home.shown("1")["images"][0]["type"] == "temp"
    assert home.shown("2")["text"] == ["3"] and home.shown("5")["text"] == ["5"]
    assert "0" not in home.executor._trace.digests or home.executor.cache.get(home.executor._trace.digests["0"]) is None
    (blocked,) = home.of(NodeBlocked)
    assert blocked.node == "7" and "nothing to do" in blocked.message
    wrong = home.check({"1": node("SchemaEverything", count=7, share=0.25, text="t", flag=True, colour="red")})
    assert "seven" in str(wrong.node_errors)
    outcome = home.run({"1": node("SchemaWrites")})
    assert outcome.error is not None and "cannot be set" in outcome.error.message


def test_the_rest_of_the_schema_form(home: Home) -> None:
    opened(home, "schema_form")
    marked = object_info(home.registry["SchemaMarked"], choices)
    assert marked["deprecated"] and marked["experimental"] and marked["api_node"] and marked["display_name"] is None
    assert marked["input"]["hidden"] == {h: [h.upper()] for h in marked["input"]["hidden"]} and len(marked["input"]["hidden"]) == 6
    home.ran({"1": node("SchemaMarked", n=1), "2": node("PreviewAny", source=["1", 0])}, extra_pnginfo={"workflow": 1})
    assert home.results("1") == [["1 {'workflow': 1}"], ["b"]]

    strict = sys.modules[module_name(home.packs_at / "schema_form")]
    graph = {"1": node("SchemaStrict", n=5), "2": node("SchemaGather", numbers=["1", 0])}
    for word, runs in (("one", 1), ("one", 1), ("two", 2)):
        strict.Strict.WORD = word
        home.ran(graph)
        assert len(strict.RUNS) == runs
    texts = {**graph, "1": node("SchemaStrict", n=5, linked=["3", 0]), "3": node("SchemaMarked", n=1)}
    assert "no texts" in str(home.check(texts).node_errors)
    assert not home.check({**texts, "3": node("PrimitiveFloat", value=1.0)}).node_errors, "it takes over the check of types"

    info = object_info(home.registry["SchemaGrows"], choices)["input"]
    assert info["required"]["way"][0] == "COMFY_DYNAMICCOMBO_V3" and info["required"]["way"][1]["options"][1] == {
        "key": "to",
        "inputs": {"required": {"width": ["INT", {"default": 8}], "height": ["INT", {"default": 8}]}},
    }
    assert info["optional"]["parts"][1]["template"]["max"] == 4 and info["optional"]["a"][0] == "INT,FLOAT"
    values = {"way": "to", "way.width": 4, "way.height": ["i", 0], "parts.part0": ["i", 0], "parts.part2": 9, "named.y": 1, "a": ["i", 0]}
    graph = {"i": node("PrimitiveInt", value=3), "1": node("SchemaGrows", **values), "2": node("PreviewAny", source=["1", 0])}
    home.ran(graph)
    assert home.results("1") == [["{'way': 'to', 'width': 4, 'height': 3} {'part0': 3, 'part2': 9} {'y': 1}"], [3]]
    outcome = home.run({**graph, "1": node("SchemaGrows", way="by")})
    assert outcome.error is not None and "at least 1" in outcome.error.message
    outcome = home.run({**graph, "1": node("SchemaGrows", way="up", **{"parts.part0": 1})})
    assert outcome.error is not None and "one of by, to" in outcome.error.message

    image = {"i": node("EmptyImage", width=8, height=8, batch_size=1, color=255)}
    for how, key, type in (
        ("image", "images", "temp"),
        ("mask", "images", "temp"),
        ("audio", "audio", "temp"),
        ("saved", "images", "output"),
    ):
        home.ran({**image, "1": node("SchemaShows", image=["i", 0], how=how)})
        (item,) = home.shown("1")[key]
        assert item["type"] == type and (home.bench.folders.directory(type) / item["subfolder"] / item["filename"]).is_file()
    home.ran({**image, "1": node("SchemaShows", image=["i", 0], how="text")})
    assert home.shown("1")["text"] == ["words"]
