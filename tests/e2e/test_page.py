"""The page as a browser gets it, with nothing of the tests' own switched on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import PATIENCE_MS, Running

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_page_obeys_its_own_content_policy_and_shows_markup_as_text(browser: Any, server: Running) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(server.url + "/app")
    page.fill(".form-field [name=steps]", "1")
    page.locator(".form-field [name=text]").first.fill("<img src=x onerror=\"document.title='owned'\">")
    page.click(".form-run")
    page.wait_for_selector(".form-result img:not([data-preview])")
    page.click(".rail button[aria-label^='Queue and history']")
    page.locator("#history li", has_text="<img src=x").wait_for()
    assert "owned" not in page.title()
    context.close()
    assert said == []
