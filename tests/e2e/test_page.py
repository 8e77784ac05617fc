"""The page in a real browser: it runs the default graph and shows the picture."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from PIL import Image

from tests.conftest import ROOT, Running

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PROMPT = "a large yellow star in front of a night sky"
SCREENSHOT = "EMULSION_SCREENSHOT"  # set to 1 to renew docs/screenshot.png


def ready(page: Any, server: Running) -> None:
    page.goto(server.url + "/form")
    page.wait_for_selector("select[name=model] option", state="attached")
    page.wait_for_function("document.getElementById('connection').textContent === 'Connected'")


def finish(page: Any, words: str = "Done") -> None:
    page.wait_for_function("w => document.getElementById('progress-label').textContent === w", arg=words, timeout=120_000)


def test_the_default_graph_runs_from_the_page(page: Any, server: Running) -> None:
    ready(page, server)
    page.evaluate("window.previews = 0; new MutationObserver(() => { if (document.querySelector('img[data-preview]')) window.previews++; })"
                  ".observe(document.getElementById('frame'), {subtree: true, childList: true, attributes: true})")  # fmt: skip
    page.fill("textarea[name=prompt]", PROMPT)
    page.fill("input[name=seed]", "31")
    page.click("#run")
    finish(page)
    picture = page.wait_for_selector("#frame img:not([data-preview])")
    assert picture.evaluate("i => i.decode().then(() => [i.naturalWidth, i.naturalHeight])") == [128, 128]
    assert picture.get_attribute("alt") == PROMPT
    assert page.evaluate("window.previews") > 2, "the picture is shown while it forms"
    assert page.locator("#gallery li").count() == 1
    page.wait_for_selector("#history li img")
    assert page.input_value("input[name=seed]") != "31", "a new seed after each run"
    sent = json.loads(page.input_value("#json"))
    assert sent["2"]["inputs"]["text"] == PROMPT
    if os.environ.get(SCREENSHOT):
        page.evaluate("Promise.all([...document.images].map(i => i.decode()))")
        target = ROOT / "docs" / "screenshot.png"
        page.screenshot(path=str(target))
        with Image.open(target) as shot:
            small = shot.convert("RGB").quantize(256)
        small.save(target, optimize=True)


def test_the_page_obeys_its_own_content_policy(browser: Any, server: Running) -> None:
    context = browser.new_context()
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(server.url + "/form")
    page.fill("input[name=steps]", "2")
    page.click("#run")
    page.wait_for_selector("#gallery img", timeout=60_000)
    assert page.text_content("#connection") == "Connected"
    context.close()
    assert said == []


MODULES = {
    "core/graph.js": [
        ("m.isGraph({})", True),
        ("m.isGraph({1: {class_type: 'A'}})", True),
        ("m.isGraph({1: {type: 'A'}})", False),
        ("m.isGraph([])", False),
        ("m.caption({1: {class_type: 'X', inputs: {}}})", "A graph without a prompt"),
        # the prompt is found through what lies between it and the sampler, and loops end
        ("m.handles(@).prompt", {"id": "c", "input": "text"}),
        ("m.handles(@).negative", {"id": "n", "input": "text"}),
        ("m.handles(@).width", None),
        ("m.get(m.set(@, {id: 's', input: 'seed'}, 5), {id: 's', input: 'seed'})", 5),
        ("m.title(@, 's', {KSampler: {display_name: 'K'}})", "K"),
        ("m.title(@, 'c')", "Words"),
        ("m.title(@, 'gone')", "node gone"),
        ("m.declared({KSampler: {input: {required: {seed: ['INT', {max: 9}]}}}}, @, {id: 's', input: 'seed'}).options.max", 9),
        ("m.declared({KSampler: {input: {optional: {seed: ['COMBO', {options: [1]}]}}}}, @, {id: 's', input: 'seed'}).choices", [1]),
        ("m.declared({}, @, {id: 's', input: 'seed'}).choices", None),
    ],
    "core/json.js": [
        ("m.format(m.parse('{\"a\":18446744073709551615}'))", '{\n  "a": 18446744073709551615\n}'),
        ("m.text(m.parse('18446744073709551615'))", "18446744073709551615"),
        ("m.parse('9007199254740991')", 9007199254740991),
        ("m.parse('1e300')", 1e300),
    ],
    "core/sentences.js": [
        ("m.ofFailure({node_id: 's', exception_message: 'no memory\\n'}, @, {})", "KSampler (node s): no memory."),
        ("m.ofFailure({node_id: 's', exception_type: 'KeyError'}, @, {})", "KSampler (node s): KeyError."),
        ("m.ofRefusal({message: 'x', error: {message: 'No outputs', details: ''}, nodeErrors: {}}, @, {})", ["No outputs."]),
        (
            "m.ofRefusal({message: 'x', error: {}, nodeErrors: {c: {errors: [{message: 'Too long', details: 'text'}]}}}, @, {})",
            ["Words (node c): Too long. text"],
        ),
    ],
}
GRAPH = {
    "s": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["x", 0], "negative": ["n", 0], "latent_image": ["l", 0]}},
    "x": {"class_type": "Concat", "inputs": {"a": ["c", 0], "b": ["x", 0]}},
    "c": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat"}, "_meta": {"title": "Words"}},
    "n": {"class_type": "CLIPTextEncode", "inputs": {"text": ""}},
    "l": {"class_type": "Load", "inputs": {"width": ["c", 0]}},
}


@pytest.mark.parametrize("module", MODULES)
def test_the_pure_modules(page: Any, server: Running, module: str) -> None:
    page.goto(server.url + "/form")
    for expression, expected in MODULES[module]:
        call = f"import('/{module}').then((m) => {expression.replace('@', json.dumps(GRAPH))})"
        assert page.evaluate(call) == expected, expression


def test_a_problem_is_told_as_a_sentence_about_the_node(page: Any, server: Running) -> None:
    ready(page, server)
    page.fill("input[name=steps]", "0")
    page.click("#run")
    problem = page.wait_for_selector("#problems > *")
    assert "Sampler (node 5)" in problem.text_content()
    assert "steps" in problem.text_content()
    page.problems[:] = [p for p in page.problems if "400" not in p]  # the browser itself logs the refused request


def test_the_graph_as_json_and_the_form_follow_each_other(page: Any, server: Running) -> None:
    ready(page, server)
    page.click("#raw summary")
    graph = json.loads(page.input_value("#json"))
    graph["5"]["inputs"]["seed"] = 0
    text = json.dumps(graph).replace('"seed": 0', '"seed": 18446744073709551615')
    page.fill("#json", text)
    assert page.input_value("input[name=seed]") == "18446744073709551615"
    page.fill("input[name=steps]", "3")
    assert '"seed": 18446744073709551615' in page.input_value("#json"), "a seed a double cannot hold stays as it is"
    assert json.loads(page.input_value("#json"))["5"]["inputs"]["steps"] == 3
    page.fill("#json", "{")
    assert "not JSON" in page.text_content("#json-problem")
    assert page.is_disabled("#run")
    page.click("#reset")
    page.wait_for_function("!document.getElementById('run').disabled")


def test_markup_in_a_prompt_stays_text(page: Any, server: Running) -> None:
    ready(page, server)
    page.fill("textarea[name=prompt]", "<img src=x onerror=\"document.title='owned'\">")
    page.fill("input[name=steps]", "1")
    page.click("#run")
    finish(page)
    page.wait_for_function("document.getElementById('history').textContent.includes('<img src=x')")
    assert page.title() == "Emulsion"


def test_a_running_job_is_cancelled_from_the_page(page: Any, server: Running) -> None:
    ready(page, server)
    page.fill("input[name=steps]", "2000")
    page.click("#run")
    page.wait_for_selector("img[data-preview]", timeout=60_000)
    page.click("#cancel")
    finish(page, "Cancelled")


def test_the_page_is_usable_without_a_mouse_and_by_a_screen_reader(page: Any, server: Running) -> None:
    ready(page, server)
    unnamed = page.evaluate("""[...document.querySelectorAll('input, select, textarea, button, progress, img')].filter((e) =>
        !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label') || e.hasAttribute('alt'))).map((e) => e.outerHTML)""")
    assert unnamed == []
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("main").count() == 1
    assert page.locator("h1").count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("textarea[name=prompt]")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "negative"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page: Any, server: Running, theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    ready(page, server)
    weak = page.evaluate(CONTRAST)
    assert weak == [], f"contrast below 4.5 in the {theme} theme"
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == ("light" if theme == "dark" else "dark")


# Ratio of relative luminances (WCAG 2.2, 1.4.3) of every element that holds text of its own.
CONTRAST = """() => {
  const rgb = (c) => c.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const opaque = (c) => c.length < 4 || c[3] > 0.99;
  const ground = (e) => {
    for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (opaque(c)) return c; }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('body *')].filter((e) => e.offsetParent && !e.disabled && !e.closest('.unseen')
      && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).flatMap((e) => {
    const [a, b] = [luminance(rgb(getComputedStyle(e).color)), luminance(ground(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    return ratio < 4.5 ? [`${e.tagName} "${e.textContent.trim().slice(0, 30)}": ${ratio.toFixed(2)}`] : [];
  });
}"""
