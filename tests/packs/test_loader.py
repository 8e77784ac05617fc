from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from backend.base.config import Settings, parse
from backend.base.jsonable import dumps
from backend.base.paths import Folders
from backend.packs import guard, importer
from backend.packs.complete import note_prestartup
from backend.packs.host import HOST
from backend.packs.loader import Loaded, entries, hold_pins, load_packs, module_name, run_prestartup
from backend.packs.pack import Pack

GOOD = """
from .part import VALUE
from . import part as again
assert again.VALUE is VALUE

class Node:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"n": ("INT", {"default": VALUE})}}
    RETURN_TYPES = ("INT",)
    FUNCTION = "go"
    def go(self, n):
        return (n,)

class Broken(Node):
    FUNCTION = "gone"

class Numbered(Node):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {5: ("INT",)}}

class Raising(Node):
    @classmethod
    def INPUT_TYPES(cls):
        raise RuntimeError("no such disk")

NODE_CLASS_MAPPINGS = {"PackNode": Node, "PackBroken": Broken, "PackRaising": Raising, "PackNumbered": Numbered}
NODE_DISPLAY_NAME_MAPPINGS = {"PackNode": "A node"}
WEB_DIRECTORY = "./js"
"""


class Place:
    """A custom_nodes directory to fill."""

    def __init__(self, root: Path) -> None:
        self.folders = Folders.of(root)
        self.at = root / "custom_nodes"
        self.at.mkdir()

    def write(self, name: str, text: str) -> None:
        file = self.at / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))

    def load(self, settings: Settings | None = None) -> Loaded:
        return load_packs(self.folders, settings or Settings())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def by_name(loaded: Loaded) -> dict[str, Pack]:
    return {p.name: p for p in loaded.packs}


def test_a_pack_with_a_folder(place: Place) -> None:
    place.write("my.pack/__init__.py", GOOD)
    place.write("my.pack/part.py", "VALUE = 7")
    place.write("my.pack/js/deep/a.js", "")
    loaded = place.load()
    (pack,) = loaded.packs
    assert (pack.name, pack.error, pack.web_name) == ("my.pack", None, "my.pack") and pack.web == place.at / "my.pack" / "js"
    (t,) = loaded.types
    assert (t.id, t.title, t.module) == ("PackNode", "A node", "custom_nodes.my.pack")
    assert t.instance_of is not None and t.instance_of.RELATIVE_PYTHON_MODULE == "custom_nodes.my.pack"  # type: ignore[attr-defined]
    assert (
        pack.faults.keys() == {"PackBroken", "PackRaising", "PackNumbered"}
        and "5" in pack.faults["PackNumbered"]
        and "no such disk" in pack.faults["PackRaising"]
    )
    name = module_name(place.at / "my.pack")
    assert name.endswith("my_x_pack") and name in sys.modules and f"{name}.part" in sys.modules
    dumps(pack.to_json())


def test_a_pack_that_is_one_file_and_one_with_declared_nodes(place: Place) -> None:
    place.write(
        "single.py",
        GOOD.replace("from .part import VALUE", "VALUE = 1").replace("from . import part as again\nassert again.VALUE is VALUE", ""),
    )
    place.write(
        "declared/__init__.py",
        """
        from backend.graph.declare import Int, node

        @node("Declared", category="x")
        def declared(ctx, *, n: int = Int(1)) -> int:
            return n
        """,
    )
    loaded = place.load()
    assert {t.id for t in loaded.types} == {"PackNode", "Declared"} and by_name(loaded)["single"].web is None


FAULTS = {
    "raises": "raise ValueError('bang')",
    "exits": "import sys; sys.exit(3)",
    "syntax": "def (",
    "missing": "import a_module_that_does_not_exist_anywhere",
    "empty": "x = 1",
    "schema": "def comfy_entrypoint(): ...",
    "recursion": "def f(): f()\nf()",
    "mappings": "NODE_CLASS_MAPPINGS = 5",
}


def test_no_fault_of_a_pack_harms_another(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    for name, text in FAULTS.items():
        place.write(f"{name}/__init__.py", text)
    place.write("no_init/readme.md", "")
    place.write(
        "good.py",
        "class N:\n  INPUT_TYPES = classmethod(lambda c: {})\n  FUNCTION = 'go'\n  def go(self): return {}\nNODE_CLASS_MAPPINGS = {'N': N}",
    )
    with caplog.at_level("INFO"):
        loaded = place.load()
    packs = by_name(loaded)
    assert {n for n, p in packs.items() if p.error} == {*FAULTS, "no_init"} and [t.id for t in loaded.types] == ["N"]
    assert "bang" in (packs["raises"].error or "") and "bang" in packs["raises"].traceback
    assert "get_node_list" in (packs["schema"].error or "")
    assert packs["missing"].missing == "a_module_that_does_not_exist_anywhere" and "not installed" in (packs["missing"].error or "")
    assert caplog.text.count("Cannot import ") == len(FAULTS) + 1
    listed = [line for line in caplog.text.splitlines() if " seconds" in line]
    assert len(listed) == len(packs) and sum("(IMPORT FAILED)" in line for line in listed) == len(FAULTS) + 1
    assert module_name(place.at / "raises") not in sys.modules


def test_what_is_skipped(place: Place) -> None:
    for name in (
        "off.disabled/__init__.py",
        "__pycache__/x.py",
        "off.py.disabled",
        "notes.txt",
        ".hidden/__init__.py",
        "on/__init__.py",
        "two.py",
    ):
        place.write(name, "NODE_CLASS_MAPPINGS = {}")
    assert sorted(p.name for p in entries(place.folders, Settings())) == ["on", "two.py"]
    assert list(entries(place.folders, parse(["--disable-all-custom-nodes"]))) == []
    only = parse(["--disable-all-custom-nodes", "--whitelist-custom-nodes", "two"])
    assert [p.name for p in entries(place.folders, only)] == ["two.py"]


def test_the_last_pack_wins_a_name(place: Place) -> None:
    text = (
        "class N:\n  INPUT_TYPES = classmethod(lambda c: {{}})\n  FUNCTION = 'go'\n  CATEGORY = '{0}'\n"
        "  def go(self): return {{}}\nNODE_CLASS_MAPPINGS = {{'N': N}}"
    )
    for name in "ab":
        place.write(f"{name}.py", text.format(name))
    loaded = place.load()
    assert [t.category for t in loaded.types] == [loaded.packs[-1].name]


def test_prestartup_scripts_run_first_and_may_fail(place: Place) -> None:
    place.write("one/prestartup_script.py", "import sys; sys.prestartup_seen = __file__")
    place.write("two/prestartup_script.py", "raise OSError('no')")
    place.write("three/prestartup_script.py", "import json; json.dumps = None")
    failed = run_prestartup(place.folders, Settings())
    assert [p.name for p in failed] == ["two"] and "no" in (failed[0].error or "")
    assert json.dumps([1]) == "[1]", "what a script replaces is put back"
    assert sys.prestartup_seen == str(place.at / "one" / "prestartup_script.py")  # type: ignore[attr-defined]
    del sys.prestartup_seen  # type: ignore[attr-defined]


def test_web_directories(place: Place) -> None:
    text = "NODE_CLASS_MAPPINGS = {}\n"
    place.write("outside/__init__.py", text + "WEB_DIRECTORY = '../../..'")
    place.write("absent/__init__.py", text + "WEB_DIRECTORY = 'js'")
    place.write("project/__init__.py", text)
    place.write("project/pyproject.toml", '[project]\nname = "pretty-name"\n[tool.comfy]\nweb = "web/js"\n')
    place.write("project/web/js/a.js", "")
    packs = by_name(place.load())
    assert packs["outside"].web is None and "outside" in packs["outside"].faults["WEB_DIRECTORY"]
    assert packs["absent"].web is None and packs["absent"].error is None
    assert (packs["project"].web_name, packs["project"].web) == ("pretty-name", place.at / "project" / "web" / "js")


def test_no_directory_means_no_packs(tmp_path: Path) -> None:
    assert load_packs(Folders.of(tmp_path / "nowhere"), Settings()).packs == []


@pytest.mark.parametrize("versioned", [True, False])
def test_what_a_pack_replaces_in_the_application_is_put_back(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versioned: bool
) -> None:
    """Also with an interpreter that does not say which dicts were written to."""
    import torch

    import backend.engine.executor as executor

    assert guard._VERSIONED or sys.version_info >= (3, 13)
    monkeypatch.setattr(guard, "_VERSIONED", versioned)
    monkeypatch.chdir(tmp_path)
    run, load = executor.Executor.run, torch.load
    place.write(
        "rude.py",
        """
        import json, os, torch
        import backend.engine.executor as e, backend.graph.describe as d
        e.Executor.run = lambda self, job: 1 / 0
        e.Executor.added = 1
        d.object_info = json.dumps = None
        del d.to_wire, e.Executor.forget
        torch.set_default_dtype(torch.float16)
        torch.set_grad_enabled(False)
        os.chdir("/")
        NODE_CLASS_MAPPINGS = {}
        """,
    )
    (pack,) = place.load().packs
    assert set(pack.replaced) == {
        "backend.engine.executor.Executor.run", "backend.graph.describe.object_info", "json.dumps", "the working directory",
        "torch's default dtype", "torch's gradients", "backend.graph.describe.to_wire", "backend.engine.executor.Executor.forget",
    }  # fmt: skip
    assert executor.Executor.run is run and torch.load is load and json.dumps([1]) == "[1]" and Path.cwd() == tmp_path
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    del executor.Executor.added  # type: ignore[attr-defined]


def test_a_node_that_exits_while_it_is_described_is_left_out_alone(place: Place) -> None:
    place.write(
        "p.py",
        GOOD.replace("from .part import VALUE", "VALUE = 1")
        .replace("from . import part as again\nassert again.VALUE is VALUE", "")
        .replace('RuntimeError("no such disk")', 'SystemExit("no such disk")'),
    )
    (pack,) = place.load().packs
    assert pack.error is None and [t.id for t in pack.types] == ["PackNode"] and "no such disk" in pack.faults["PackRaising"]


def test_a_prestartup_script_that_fails_is_among_the_faults(place: Place) -> None:
    place.write("p/__init__.py", "NODE_CLASS_MAPPINGS = {}")
    place.write("p/prestartup_script.py", "import sys; sys.exit('no licence')")
    failed = run_prestartup(place.folders, Settings())
    packs = place.load().packs
    note_prestartup(packs, failed)
    assert "no licence" in packs[0].faults["prestartup_script.py"] and packs[0].error is None


def test_pip_called_by_a_pack_keeps_to_our_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_CONSTRAINT", "UV_CONSTRAINT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    hold_pins()
    held = Path(os.environ["PIP_CONSTRAINT"]).read_text("utf-8")
    assert any(line.startswith("torch==") for line in held.splitlines()) and "-r " not in held and "[" not in held
    monkeypatch.setenv("PIP_CONSTRAINT", "of-the-person.txt")
    hold_pins()
    assert os.environ["PIP_CONSTRAINT"] == "of-the-person.txt"


def test_a_module_of_the_application_that_is_not_there_is_no_missing_package(place: Place) -> None:
    importer.install()
    try:
        place.write("p.py", "import comfy_api_nodes.apis")
        (pack,) = place.load().packs
        assert pack.missing is None and "comfy_api_nodes" in (pack.error or "") and "does not offer" in (pack.error or "")
        assert pack.wanted == ["comfy_api_nodes"]
    finally:
        importer.uninstall()
        HOST.reset()
