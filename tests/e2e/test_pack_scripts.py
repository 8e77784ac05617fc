"""Scripts of node packs in a real browser: what real ones use works on the nodes of the editor; what cannot is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Running, start_server
from tests.e2e.hands import ready
from tests.e2e.test_editor import DONE, command, violations

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PACK = Path(__file__).with_name("scripted")


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("scripted")
    shutil.copytree(PACK, home / "packs" / "scripted", ignore=shutil.ignore_patterns("__pycache__"))
    paths = home / "paths.yaml"
    paths.write_text(f"test:\n  custom_nodes: {json.dumps(str(home / 'packs'))}\n")
    with start_server(home, "--cpu", "--extra-model-paths-config", str(paths)) as process:
        yield Running(process.url, home, process)


def add(page: Any, name: str) -> None:
    there = page.locator(".node").count()
    page.keyboard.press("a")
    page.keyboard.type(name)
    page.wait_for_function("w => document.querySelector('[role=option][aria-selected=true]')?.textContent.includes(w)", arg=name)
    page.keyboard.press("Enter")
    page.wait_for_function("n => document.querySelectorAll('.node').length === n", arg=there + 1)


def seen(page: Any, what: str) -> Any:
    return page.evaluate(f"window.scripted.{what}")


def scripted_page(page: Any, server: Running) -> None:
    ready(page, server.url)
    page.wait_for_selector("html[data-scripts]")
    page.keyboard.press("Alt+n")
    add(page, "ScriptedText")
    page.expected.append("status of 404")  # a script of the pack asks for one that is not there


def test_scripts_add_widgets_and_hear_what_happens(page: Any, scripted: Running) -> None:
    scripted_page(page, scripted)
    assert seen(page, "hooks") == ["init", "defs true", "setup", "created"]
    assert seen(page, "size") == 7
    node = page.locator(".node")
    assert node.locator("[data-widget=secret]").count() == 0, "the script hides it"
    assert node.locator("[data-widget=tint] input[type=color]").count() == 1
    assert seen(page, "drawn") > 0
    assert seen(page, "foreground")
    node.locator(".pack-button").click()
    page.wait_for_function("() => app.graph._nodes[0].widgets.find((w) => w.name === 'count').value === 5")
    assert page.evaluate("app.graph.getNodeById(1).properties.pressed") == 1
    text = node.locator("[data-widget=text] input")
    text.fill("two")
    assert seen(page, "callbacks.at(-1)") == "two"
    page.click("#run")
    page.wait_for_function(DONE)
    page.wait_for_function("() => window.scripted.executed.length === 1")
    said = "two/5/first/hidden/#112233//CALM"
    assert seen(page, "executed") == [[1, [said]]]
    assert node.locator("[data-widget=shown] textarea").input_value() == said
    page.wait_for_function("() => window.scripted.events.some(([name, node]) => name === 'executing' && node === null)")
    page.click(".graph", position={"x": 30, "y": 600})
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    page.wait_for_function("() => app.graph._nodes[0].widgets.find((w) => w.name === 'count').value === 2")
    assert page.evaluate("app.graph._nodes[0].properties.pressed") is None, "what the button did was one step"


def test_what_scripts_hold_is_saved_and_opened_again(page: Any, scripted: Running) -> None:
    scripted_page(page, scripted)
    page.evaluate("app.graph._nodes[0].widgets.find((w) => w.name === 'mood').value = 'wild'")
    page.evaluate("app.graph._nodes[0].widgets.find((w) => w.name === 'tint').value = '#445566'")
    saved = page.evaluate("app.graph.serialize()")
    assert saved["nodes"][0]["widgets_values"] == ["one", 2, "first", "hidden", "#445566", "wild"]
    assert saved["nodes"][0]["scripted"] == {"kept": 1}
    page.evaluate("document.dispatchEvent(new Event('emulsion-refresh'))")
    page.wait_for_selector(".toast:has-text('read again')")
    assert page.locator("[data-widget=tint] input[type=color]").count() == 1, "types and choices of scripts outlast reading again"
    assert page.evaluate("app.graph._nodes[0].widgets.find((w) => w.name === 'way').options.values.length") == 3
    page.evaluate("data => app.loadGraphData(data)", saved)
    page.wait_for_function("() => document.querySelectorAll('.tab').length === 3")
    values = page.evaluate("app.graph._nodes[0].widgets.map((w) => w.value).slice(0, 7)")
    assert values == ["one", 2, "first", "hidden", "#445566", None, "wild"]
    assert page.locator("[data-widget=tint] input").input_value() == "#445566"
    assert "loaded 8" in seen(page, "hooks")


def test_nodes_of_scripts_alone_pass_on_what_they_are_given(page: Any, scripted: Running) -> None:
    scripted_page(page, scripted)
    page.evaluate(
        """() => {
            const pipe = LiteGraph.createNode('ScriptedPipe');
            pipe.pos = [600, 0];
            app.graph.add(pipe);
            const last = LiteGraph.createNode('ScriptedText');
            last.pos = [900, 0];
            app.graph.add(last);
            app.graph.getNodeById(1).connect(0, pipe, 0);
            pipe.connect(0, last, 'chain');
        }"""
    )
    page.wait_for_function("() => app.graph._nodes.length === 3")
    assert page.evaluate("app.graph._nodes[2].getInputNode(0).title") == "Scripted pipe"
    assert [3, 1, 0, True, 2] in seen(page, "links")
    prompt = page.evaluate("app.graphToPrompt().then((made) => made.output)")
    assert sorted(prompt) == ["1", "3"]
    assert prompt["3"]["inputs"]["chain"] == ["1", 0]
    page.evaluate("app.graph.remove(app.graph.getNodeById(2))")
    assert page.evaluate("app.graph.links.size") == 0
    page.evaluate("app.graph._nodes[0].pos[0] = 77")
    assert page.evaluate("app.graph.serialize().nodes[0].pos[0]") == 77


def test_scripts_wrap_what_is_sent_and_add_to_menus_keys_and_settings(page: Any, scripted: Running) -> None:
    scripted_page(page, scripted)
    page.evaluate(
        """() => {
            const before = app.graphToPrompt;
            app.graphToPrompt = async function () {
                const made = await before.apply(this, arguments);
                made.output['1'].inputs.text = 'wrapped';
                return made;
            };
        }"""
    )
    page.click("#run")
    page.wait_for_function("() => window.scripted.executed.length === 1")
    assert seen(page, "executed[0][1][0]").startswith("wrapped/")
    page.locator(".node .head").click(button="right")
    page.click("[role=menuitem]:has-text('Paint it red')")
    assert page.evaluate("app.graph._nodes[0].bgcolor") == "#533"
    page.evaluate(
        """() => {
            const before = app.queuePrompt;
            app.queuePrompt = function (...args) {
                window.scripted.queued = args;
                return before.apply(this, args);
            };
        }"""
    )
    page.click("#run")
    page.wait_for_function("() => window.scripted.executed.length === 2")
    assert seen(page, "queued")[:2] == [0, 1]
    page.keyboard.press("Control+F8")
    page.wait_for_selector(".toast.good:has-text('Shouted')")
    command(page, "Settings")
    page.wait_for_selector("dialog .setting:has-text('Size of the script')")
    page.keyboard.press("Escape")
    page.evaluate("scriptedDialog()")
    page.wait_for_selector("dialog .comfy-modal strong, dialog .comfy-modal b")
    assert page.evaluate("window.owned") is None
    page.expected.append("status of 404")


def test_what_has_no_place_here_is_named_with_its_file(page: Any, scripted: Running) -> None:
    scripted_page(page, scripted)
    command(page, "Node packs")
    page.wait_for_selector("dialog .pack")
    said = page.locator("dialog .script")
    assert [each.split("replaces")[0].split("did not")[0] for each in sorted(said.all_text_contents())] == ["broken.js", "hopeless.js"]
    assert "LGraphCanvas.prototype" in page.text_content("dialog .script:has-text('hopeless.js')")
    assert "main.js" not in " ".join(said.all_text_contents())
    assert violations(page) == []
