"""`main.py pack test`: a pack is loaded in a process of its own, and its author is told what is wrong and what is odd."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from backend.cli import pack as command
from backend.packs import importer
from backend.packs.remarks import remarks
from backend.packs.scan import lacking
from backend.packs.v1 import node_type
from tests.packs.home import MODELLED, Home

ODD = """
import comfy.utils
import comfy.samplers as s
import folder_paths
import nodes
from comfy.model_patcher import ModelPatcher, NotThere
from comfy.nowhere import anything


class Odd:
    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "n": ("INT", {"default": 11, "min": 0, "max": 9}), "m": ("INT", {"min": 3, "max": 1}),
                "c": (["a", "b", "a"], {"default": "z"}),
                "f": ("FLOAT", {"default": "one"}),
            },
            "optional": {"image": ("IMAGE", {"lazy": True})},
        }

    RETURN_TYPES = ("INT", "INT")
    RETURN_NAMES = ("one",)
    OUTPUT_NODE = 1
    FUNCTION = "go"

    @classmethod
    def IS_CHANGED(cls, n):
        return n

    @classmethod
    def VALIDATE_INPUTS(cls, other):
        return True

    def go(self, n, m, c, image, gone):
        comfy.utils.common_upscale, comfy.utils.no_such_function, s.KSampler.SAMPLERS, s.KSampler.NOTHING
        nodes = {"a": 1}
        return nodes.items(), folder_paths.__file__


class Idle:
    INPUT_TYPES = classmethod(lambda cls: {})
    FUNCTION = "go"
    go = print
"""


def test_a_good_pack(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["test", str(MODELLED / "routes_and_widget")]) == 0
    said = capsys.readouterr().out
    assert "ModelledGreet (name) -> STRING" in said and "route GET /modelled/state" in said and "script greet.js" in said
    assert "wants" not in said


def test_a_bad_pack_is_named_and_this_process_lives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = tmp_path / "bad"
    pack.mkdir()
    (pack / "prestartup_script.py").write_text("raise OSError('no disk')")
    (pack / "__init__.py").write_text(
        "print('x' * 5000000); import json; json.dumps = None\nclass A:\n  INPUT_TYPES = 5\nNODE_CLASS_MAPPINGS = {'A': A}\n"
        "from comfy.utils import nothing_like_it\n"
    )
    assert command.main(["test", str(pack), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert "nothing_like_it" in report["error"] and "no disk" in report["prestartup"]
    assert report["replaced"] == ["json.dumps"] and "replaces json.dumps" in command.told(report)
    assert report["wanted"] == ["comfy.utils.nothing_like_it"]
    assert report["places"] == {"comfy.utils.nothing_like_it": ["__init__.py:5"]}
    assert "cannot be imported" in command.told(report) and "__init__.py:5" in command.told(report)

    (pack / "__init__.py").write_text("import os, sys\nprint('last words', file=sys.stderr, flush=True)\nos._exit(3)")
    assert command.main(["test", str(pack)]) == 1
    said = capsys.readouterr().err
    assert "exit status 3" in said and "last words" in said
    assert command.main(["test", str(tmp_path / "absent")]) == 2


def test_names_that_are_not_there_and_odd_schemas(home: Home, tmp_path: Path) -> None:
    importer.install()
    file = tmp_path / "odd.py"
    file.write_text(dedent(ODD))
    (tmp_path / "broken.py").write_text("def (")
    found = lacking(tmp_path)
    assert found.keys() == {
        "comfy.model_patcher.NotThere", "comfy.nowhere", "comfy.samplers.KSampler.NOTHING", "comfy.utils.no_such_function",
    }  # fmt: skip
    assert found["comfy.utils.no_such_function"] == ["odd.py:36"]

    space: dict[str, type] = {}
    exec(compile(dedent(ODD).partition("\n\n\n")[2], "odd", "exec"), space)
    said = "\n".join(remarks(node_type("Odd", space["Odd"]), space["Odd"]))
    for words in (
        "default of n, 11, lies outside 0 to 9", "min of m, 3, is above its max", "default of c, 'z'", "c has a choice twice", "no number",
        "given f, which go does not take", "go wants image, which is an optional input that may be absent",
        "go wants gone, which is no input",
        "given m, c, f, image, which IS_CHANGED does not take", "no check_lazy_status", "validation wants other",
        "RETURN_NAMES has 1 entries",
        "OUTPUT_NODE is neither",
    ):  # fmt: skip
        assert words in said, said
    assert "nothing will ever run it" in remarks(node_type("Idle", space["Idle"]), space["Idle"])[-1]
