"""Files of all kinds on the page: of others, broken, huge, with values no widget can show. Never a blank page or a console error."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.conftest import ROOT, Running
from tests.e2e.hands import ready, type_into
from tests.e2e.test_editor import active, open_file

pytestmark = [pytest.mark.browser, pytest.mark.slow]
WORKFLOWS = ROOT.parent / "shared" / "workflows"
EVERY = 1 if os.environ.get("EVERY_WORKFLOW") else 16
DRAWN = """() => {
    const canvas = document.querySelector('.graph canvas');
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const colours = new Set();
    for (let i = 0; i < pixels.length; i += 4 * 97) colours.add(pixels[i] << 16 | pixels[i + 1] << 8 | pixels[i + 2]);
    return colours.size > 2;
}"""


def close_dialogs(page: Any) -> None:
    while page.locator("dialog[open]").count():
        page.keyboard.press("Escape")
        page.wait_for_timeout(20)


def opened(page: Any, name: str) -> None:
    """The file is in a tab of its own, something is drawn, and a node can be reached by keys."""
    page.wait_for_function("n => document.querySelector('.tab-box.active .tab')?.textContent.trim() === n", arg=name)
    page.wait_for_function(DRAWN)
    for _ in range(40):
        close_dialogs(page)  # what is missing is told in one, a moment later
        page.locator(".graph").focus()
        page.keyboard.press("ArrowRight")
        if page.evaluate("document.activeElement.matches('.node')"):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"no node of {name} can be reached")


def test_files_of_others_open(page: Any, server: Running) -> None:
    """A sample; all of them with EVERY_WORKFLOW=1."""
    files = sorted(WORKFLOWS.glob("*.json"))[::EVERY]
    if not files:
        pytest.skip("no shared/workflows beside the repository")
    ready(page, server.url)
    for path in files:
        name = path.name.removesuffix(".json")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not (content.get("nodes") if "nodes" in content else content):
            continue  # nothing in it to look at
        open_file(page, path.name, path.read_bytes())
        opened(page, name)
        page.keyboard.press("Home")
        assert page.problems == [], path.name
        page.keyboard.press("Alt+w")
        page.wait_for_timeout(30)
        close_dialogs(page)


def test_values_no_widget_can_show_are_kept_and_marked(page: Any, server: Running) -> None:
    values = ["no number", "nonsense", -5, 1e9, "no_such_sampler", None, {"deep": [1]}]
    graph = {
        "version": 0.4, "last_node_id": 2, "last_link_id": 0, "links": [[1, 7, 0, 1, 0, "MODEL"], "rubbish", None],
        "groups": [{"title": 5}],
        "nodes": [
            {"id": 1, "type": "KSampler", "pos": [100, 60], "size": [300, 400], "inputs": "none", "outputs": 7, "widgets_values": values},
            {"id": 2, "type": "EmptyLatentImage", "pos": ["a", None], "size": {"0": -3, "1": 1e12}, "widgets_values": [-64, 1e99, 0.5]},
        ],
    }  # fmt: skip
    ready(page, server.url)
    open_file(page, "odd.json", json.dumps(graph).encode())
    opened(page, "odd")
    page.keyboard.press("1")
    steps = ".node[aria-label^='KSampler'] [data-widget=steps] input"
    page.wait_for_selector(f"{steps}.bad", state="attached")
    assert page.locator(steps).input_value() == "-5", "shown as it is, marked as wrong"
    type_into(page, steps, "12")


@pytest.mark.parametrize("kind", ["workflow", "noise"])
def test_a_file_of_50_mb_does_not_stop_the_page(page: Any, server: Running, kind: str) -> None:
    ready(page, server.url)
    before = active(page)
    page.evaluate(
        """kind => {
            const words = 'a long prompt '.repeat(75_000);
            const nodes = Array.from({ length: 50 }, (_, i) => ({ id: i + 1, type: 'CLIPTextEncode', widgets_values: [words],
                pos: [i % 10 * 440, (i / 10 | 0) * 300], size: [400, 200], inputs: [], outputs: [] }));
            const text = kind === 'workflow' ? JSON.stringify({ version: 0.4, nodes, links: [] }) : '{"a":' + '['.repeat(50e6);
            const transfer = new DataTransfer();
            transfer.items.add(new File([text], 'large.json', { type: 'application/json' }));
            const drop = new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true });
            document.querySelector('.stage').dispatchEvent(drop);
        }""",
        kind,
    )
    if kind == "workflow":
        opened(page, "large")
        page.keyboard.press("1")
        page.wait_for_selector(".node textarea")
    else:
        page.wait_for_selector(".toast.bad")
        assert active(page) == before
