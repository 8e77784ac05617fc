"""What tests do with a page as a person would: wait until it rests before aiming at something, and see that it took what was typed."""

from __future__ import annotations

from typing import Any

# Nodes become elements once the camera has rested for a moment, some in each frame: the timer is longer than the page's own.
_RESTS = """() => new Promise((done) => {
    let before = '', same = 0;
    const look = () => {
        const now = [...document.querySelectorAll('.graph .layer, .graph .node')].map((each) => each.style.transform).join();
        same = now === before ? same + 1 : 0;
        before = now;
        if (same < 3) requestAnimationFrame(look);
        else done();
    };
    setTimeout(look, 150);
})"""
_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def ready(page: Any, url: str) -> None:
    """Open the editor and wait until it is whole: while the scripts of packs join it, nodes are made anew."""
    page.goto(url)
    page.wait_for_selector("html[data-scripts]")
    page.wait_for_function("() => document.getElementById('connection').textContent === 'Connected'")


def settled(page: Any) -> None:
    """Wait until the camera rests and all nodes it sees are there."""
    page.evaluate(_RESTS)


def drawn(page: Any) -> None:
    """Wait until what was changed is where it belongs on the screen."""
    page.evaluate(_FRAMES)


def counted(page: Any, selector: str, wanted: int) -> None:
    """Wait until there are so many: the page draws a moment after a key."""
    page.wait_for_function("([s, n]) => document.querySelectorAll(s).length === n", arg=[selector, wanted])


def type_into(page: Any, selector: str, value: str) -> None:
    """Type a value into a field, take it by Enter, and wait until the field shows it and finds it good."""
    page.locator(selector).fill(value)
    page.keyboard.press("Enter")
    page.wait_for_function(
        """([selector, value]) => {
            const field = document.querySelector(selector);
            return field?.value === value && !field.classList.contains('bad');
        }""",
        arg=[selector, value],
    )
