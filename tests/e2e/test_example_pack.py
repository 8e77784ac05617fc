"""The script of the example pack on the editor's nodes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.conftest import Running
from tests.e2e.hands import ready
from tests.e2e.test_editor import DONE, violations

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_colours_are_shown_and_chosen_on_the_nodes(page: Any, server: Running) -> None:
    colour = random.randrange(1 << 24)
    shown = f"#{colour:06x}"
    ready(page, server.url)
    page.wait_for_function("() => window.LiteGraph?.createNode('ExamplePalette')")  # the pack's script has been taken in
    page.keyboard.press("Alt+n")
    page.evaluate(
        """(colour) => {
            const [empty, palette, tint, preview] = ['EmptyImage', 'ExamplePalette', 'ExampleTint', 'PreviewImage'].map((type, i) => {
                const node = LiteGraph.createNode(type);
                node.pos = [i * 320, 0];
                app.graph.add(node);
                return node;
            });
            empty.widgets.find((w) => w.name === 'color').value = colour;
            empty.connect(0, palette, 'image');
            palette.connect(0, tint, 'image');
            tint.connect(0, preview, 'images');
        }""",
        colour,
    )
    assert page.locator("[data-widget=colour] input[type=color]").input_value() == "#ff8800"
    page.click("#run")
    page.wait_for_function(DONE)
    swatch = page.locator("[data-widget=swatches] button").first
    swatch.wait_for()
    assert swatch.get_attribute("title") == shown
    swatch.click(delay=100)  # as long as a person's finger is down
    page.wait_for_function("(shown) => app.graph._nodes[2].widgets.find((w) => w.name === 'colour').value === shown", arg=shown)
    assert page.locator("[data-widget=colour] input").input_value() == shown
    assert page.evaluate("app.graphToPrompt().then((made) => made.output['3'].inputs.colour)") == shown
    page.expected.append("favicon")
    assert violations(page) == []
