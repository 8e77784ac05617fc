"""The graph editor's page in a real browser: running, files, recovery, two pages at once, small screens, accessibility."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE_MS, ROOT, Running, start_server
from tests.e2e.hands import counted, ready

pytestmark = [pytest.mark.browser, pytest.mark.slow]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
DONE = "() => document.getElementById('progress-label').textContent === 'Done'"


def panel(page: Any, name: str) -> None:
    button = page.locator(f".rail button[aria-label^='{name}']")
    if button.get_attribute("aria-pressed") != "true":
        button.click()
    page.wait_for_selector(f".side h2:text-is('{name}')")


def command(page: Any, words: str) -> None:
    """Through the palette of commands, as somebody without a mouse would."""
    page.keyboard.press("Control+k")
    page.wait_for_selector("dialog.palette[open]")
    page.keyboard.type(words)
    page.wait_for_function("w => document.querySelector('.palette [aria-selected=true]')?.textContent.includes(w)", arg=words)
    page.keyboard.press("Enter")


def set_value(page: Any, name: str, value: str) -> None:
    """A value of the workflow, through the form view."""
    page.locator(f".form-field [name='{name}']").first.fill(value)


def violations(page: Any) -> list[str]:
    if not AXE.exists():
        pytest.skip("axe-core is not installed; `make check-web` installs it")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    page.evaluate("document.getAnimations().forEach((each) => each.effect.getTiming().iterations === Infinity || each.finish())")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations)")
    return [
        f"{each['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}" for each in found for node in each["nodes"]
    ]


def open_file(page: Any, name: str, data: bytes, type: str = "application/json") -> None:
    """Drop a file on the graph."""
    page.evaluate(
        """([name, bytes, type]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name, { type }));
            for (const kind of ['dragover', 'drop'])
                document.querySelector('.stage').dispatchEvent(
                    new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        [name, list(data), type],
    )


def tab_names(page: Any) -> list[str]:
    return [text.strip() for text in page.locator(".tab").all_text_contents()]


def active(page: Any) -> str:
    return str(page.locator(".tab-box.active .tab").text_content()).strip()


def test_one_click_runs_the_default_graph(page: Any, server: Running) -> None:
    ready(page, server.url)
    assert active(page) == "Text to image"
    counted(page, ".node", 7)
    page.keyboard.press("Alt+f")
    set_value(page, "steps", "60")
    set_value(page, "seed", "777")
    page.click(".form-run")
    page.wait_for_selector(".form-result img[data-preview]")
    page.wait_for_function("() => / % · /.test(document.title)")
    page.wait_for_function(DONE)
    picture = page.wait_for_selector(".form-result img:not([data-preview])")
    assert picture.evaluate("(i) => i.decode().then(() => [i.naturalWidth, i.naturalHeight])") == [128, 128]
    assert page.input_value(".form-field [name=seed]") != "777", "a new seed after each run"
    page.keyboard.press("Alt+f")
    panel(page, "Queue and history")
    page.wait_for_selector("#history li img")
    assert "star" in page.text_content("#history li")
    panel(page, "Results")
    page.click("#gallery .shot >> nth=0")
    page.wait_for_selector("dialog .viewer img")
    assert "777" in page.text_content("dialog .about")
    page.keyboard.press("Escape")


def test_files_are_named_by_their_content_and_kept_for_good(page: Any, server: Running) -> None:
    ready(page, server.url)
    own = page.evaluate(
        "performance.getEntriesByType('resource').map((r) => new URL(r.name).pathname).filter((p) => /[.](js|css)$/.test(p))"
    )
    assert [path for path in own if not path.startswith(("/assets/", "/extensions/", "/scripts/"))] == []
    eager = page.evaluate(
        "performance.getEntriesByType('resource').filter((r) => r.name.endsWith('.js')"
        " && r.startTime < performance.getEntriesByName('emulsion-ready')[0].startTime).length"
    )
    assert 0 < eager <= 150
    page.wait_for_selector("html[data-scripts]")  # those of packs come after the editor is ready
    page.reload()
    page.wait_for_selector("html[data-ready]")
    fetched = page.evaluate(
        "performance.getEntriesByType('resource').filter((r) => r.name.includes('/assets/') && r.transferSize > 0).length"
    )
    assert fetched == 0, "everything comes from the browser's own store"


def test_the_page_obeys_its_own_content_policy(browser: Any, server: Running) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(server.url)
    page.wait_for_selector("html[data-ready]")
    page.click("#run")
    page.click(".rail button[aria-label^='Queue and history']")
    page.wait_for_selector("#history li img")
    context.close()
    assert said == []


def test_work_is_saved_kept_over_a_reload_and_undone_to_the_beginning(page: Any, server: Running) -> None:
    file = server.home / "user" / "default" / "workflows" / "tests" / "kept work.json"
    file.unlink(missing_ok=True)  # of a first try
    ready(page, server.url)
    page.keyboard.press("Alt+n")
    counted(page, ".node", 0)
    for name in ("KSampler", "Save Image"):
        page.keyboard.press("a")
        page.keyboard.type(name)
        page.wait_for_selector("[role=option][aria-selected=true]")
        page.keyboard.press("Enter")
    counted(page, ".node", 2)
    page.keyboard.press("Control+s")
    page.wait_for_selector("dialog[open] input")
    page.keyboard.type("tests/kept work")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.tab-box.active .tab').textContent === 'kept work'")
    page.wait_for_selector(".tab-box.active .mark", state="detached")  # saved
    assert len(json.loads(file.read_text())["nodes"]) == 2
    page.reload()  # at once: what is kept a moment after a change is kept when the page goes, too
    page.wait_for_selector("html[data-scripts]")
    assert active(page) == "kept work"
    assert page.locator(".tab-box.active .mark").count() == 0
    page.click(".graph", position={"x": 30, "y": 30})
    for left in (1, 0):
        page.keyboard.press("Control+z")
        page.wait_for_function("n => document.querySelectorAll('.node').length === n", arg=left)
    page.wait_for_selector(".tab-box.active .mark", state="attached")  # what is on screen is no longer what was saved
    for there in (1, 2):
        page.keyboard.press("Control+y")
        page.wait_for_function("n => document.querySelectorAll('.node').length === n", arg=there)
    page.wait_for_selector(".tab-box.active .mark", state="detached")
    panel(page, "Workflows")
    page.wait_for_selector(".side .card:has-text('kept work')")


def test_a_picture_brings_its_graph(page: Any, server: Running) -> None:
    ready(page, server.url)
    page.click("#run")
    page.wait_for_function(DONE)
    picture = max((server.home / "output").glob("*.png"), key=lambda path: path.stat().st_mtime)
    open_file(page, "shot.png", picture.read_bytes(), "image/png")
    page.wait_for_function("() => [...document.querySelectorAll('.tab')].some((t) => t.textContent === 'shot')")
    assert active(page) == "shot"
    counted(page, ".node", 7)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("broken.json", b'{"nodes": [', "not JSON"),
        ("other.json", b'{"layers": [], "brush": 1}', "no graph"),
        ("noise.png", b"\x89PNG\r\n\x1a\n" + bytes(100), ""),
    ],
)
def test_a_file_without_a_graph_is_explained(page: Any, server: Running, name: str, data: bytes, words: str) -> None:
    ready(page, server.url)
    open_file(page, name, data, "image/png" if name.endswith("png") else "application/json")
    told = page.wait_for_selector(".toast.bad")
    assert words in told.text_content()
    assert active(page) == "Text to image", "what was open stays"
    page.expected.append("status of 4")


def test_scripts_in_titles_notes_and_names_never_run(page: Any, server: Running) -> None:
    ready(page, server.url)
    evil = "<img src=x onerror=\"document.title='owned'\"><script>window.owned = 1</script>"
    graph = {
        "version": 0.4, "last_node_id": 2, "last_link_id": 0, "links": [], "groups": [{"title": evil, "bounding": [0, -80, 300, 60]}],
        "nodes": [
            {"id": 1, "type": "MarkdownNote", "pos": [0, 0], "size": [300, 200], "title": evil,
             "widgets_values": [evil + "\n\n[x](javascript:alert(1))"]},
            {"id": 2, "type": evil, "pos": [400, 0], "size": [300, 100], "widgets_values": [evil]},
        ],
    }  # fmt: skip
    open_file(page, f"{evil.replace('/', '')}.json", json.dumps(graph).encode())
    page.wait_for_selector("dialog[open] :text('cannot run here')")
    assert "<img src=x" in page.text_content("dialog[open]"), "it is shown as the text it is"
    page.keyboard.press("Escape")
    page.click("#run")
    page.wait_for_selector(".toast.bad")
    panel(page, "Problems")
    page.wait_for_timeout(200)
    assert page.evaluate("window.owned") is None
    assert page.title() != "owned"
    assert page.locator("img[src=x], a[href^=javascript], .stage script").count() == 0
    page.expected.append("status of 400")


def test_a_problem_is_told_on_its_node_and_in_the_list_with_the_way_to_it(page: Any, server: Running) -> None:
    ready(page, server.url)
    graph = json.loads((ROOT / "web" / "default_graph.json").read_text())
    graph["5"]["inputs"]["steps"] = 0
    del graph["6"]["inputs"]["vae"]
    open_file(page, "wrong.json", json.dumps(graph).encode())
    page.wait_for_function("() => document.querySelector('.tab-box.active .tab').textContent === 'wrong'")
    page.click("#run")
    page.wait_for_selector("#problems .problem")
    said = page.text_content("#problems")
    assert "Decode" in said
    assert "vae" in said
    page.locator("#problems .problem button", has_text="Show the node").first.click()
    page.wait_for_selector(".node[data-status=error].selected")
    page.expected.append("status of 400")


def test_two_pages_on_one_file_never_overwrite_each_other(browser: Any, server: Running) -> None:
    (server.home / "user" / "default" / "workflows").mkdir(parents=True, exist_ok=True)
    file = server.home / "user" / "default" / "workflows" / "both.json"
    file.write_text(json.dumps({"version": 0.4, "nodes": [], "links": [], "last_node_id": 0, "last_link_id": 0}))
    context = browser.new_context(viewport={"width": 1280, "height": 800}, bypass_csp=True)
    context.set_default_timeout(PATIENCE_MS)
    pages = [context.new_page(), context.new_page()]
    for page in pages:
        ready(page, server.url)
        panel(page, "Workflows")
        page.click(".side .card button:has-text('both')")
        page.wait_for_function("() => document.querySelector('.tab-box.active .tab').textContent === 'both'")
        page.click(".graph", position={"x": 300, "y": 300})
        page.keyboard.press("a")
        page.keyboard.type("KSampler" if page is pages[0] else "Save Image")
        page.wait_for_selector("[role=option][aria-selected=true]")
        page.keyboard.press("Enter")
        page.wait_for_selector(".node")
    pages[0].keyboard.press("Control+s")
    pages[0].wait_for_selector(".toast.good")
    pages[1].keyboard.press("Control+s")
    pages[1].wait_for_selector("dialog[open]:has-text('changed elsewhere')")
    assert "KSampler" in file.read_text(), "the first one's work is there"
    pages[1].click("dialog button:has-text('Save mine under another name')")
    pages[1].wait_for_selector("dialog[open] input")
    pages[1].keyboard.press("Control+a")
    pages[1].keyboard.type("both, mine")
    pages[1].keyboard.press("Enter")
    pages[1].wait_for_selector(".toast.good")
    assert "SaveImage" in file.with_name("both, mine.json").read_text()
    assert "SaveImage" not in file.read_text()
    context.close()


def test_a_second_page_watches_the_run_of_the_first(browser: Any, server: Running) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, bypass_csp=True)
    context.set_default_timeout(PATIENCE_MS)
    first, second = context.new_page(), context.new_page()
    ready(first, server.url)
    ready(second, server.url)
    panel(second, "Queue and history")
    first.keyboard.press("Alt+f")
    set_value(first, "steps", "5000")  # as long as it takes to be seen
    first.click(".form-run")
    second.wait_for_selector("#queue li")
    first.click("#cancel")
    second.wait_for_selector("#queue li", state="detached")
    set_value(first, "steps", "2")
    first.click(".form-run")
    first.wait_for_function(DONE)
    second.wait_for_selector("#history li img")
    context.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[tuple[list[Any], int]]:
    """A server on a port of its own that a test may kill and start again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    servers = [start_server(tmp_path, "--cpu", "--port", str(port))]
    yield servers, port
    servers[-1].stop()


def test_a_run_survives_the_death_of_worker_and_server(page: Any, own_server: tuple[list[Any], int], tmp_path: Path) -> None:
    servers, port = own_server
    ready(page, servers[0].url)
    page.keyboard.press("Alt+f")
    set_value(page, "steps", "120")
    page.click(".form-run")
    page.wait_for_selector(".form-result img[data-preview]")
    front = servers[0].process.pid
    (worker,) = Path(f"/proc/{front}/task/{front}/children").read_text().split()
    os.kill(int(worker), signal.SIGKILL)
    page.wait_for_function("() => !/Sampler [1-9]/.test(document.getElementById('progress-label').textContent)")
    page.wait_for_function("() => /Sampler [1-9]/.test(document.getElementById('progress-label').textContent)")
    servers[0].process.kill()
    servers[0].stop()
    page.wait_for_function("() => document.getElementById('connection').textContent.startsWith('Connection lost')")
    assert page.input_value(".form-field [name=steps]") == "120", "the work is still there"
    servers.append(start_server(tmp_path, "--cpu", "--port", str(port)))
    page.wait_for_function("() => document.getElementById('connection').textContent === 'Connected'")
    page.wait_for_function(DONE)
    page.wait_for_selector(".form-result img:not([data-preview])")
    page.expected += ["ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY"]


LATE_SOCKET = """
const Real = WebSocket;
window.WebSocket = class {
    constructor(address) {
        window.connectNow = () => {
            this.real = new Real(address);
            this.real.binaryType = 'arraybuffer';
            for (const type of ['onopen', 'onmessage', 'onclose']) this.real[type] = (event) => this[type](event);
        };
    }
    send(data) { this.real.send(data); }
    close() { this.real?.close(); }
};
"""


def test_a_run_that_ends_before_the_page_hears_of_anything_is_shown(page: Any, server: Running) -> None:
    """The server is quicker than the socket and than its own answer on their way to a busy page."""
    held: list[tuple[Any, Any]] = []
    page.add_init_script(LATE_SOCKET)
    page.route("**/prompt", lambda route: held.append((route, route.fetch())))
    page.goto(server.url)
    page.wait_for_selector("html[data-scripts]")
    page.keyboard.press("Alt+f")
    set_value(page, "steps", "1")
    page.click(".form-run")
    while not held:
        page.wait_for_timeout(20)
    id = held[0][1].json()["prompt_id"]
    while not page.request.get(f"{server.url}/history/{id}").json():
        page.wait_for_timeout(20)
    with page.expect_response("**/queue"):  # it looks for its jobs, and finds none
        page.evaluate("connectNow()")
    held[0][0].fulfill(response=held[0][1])
    page.wait_for_selector(".form-result img:not([data-preview])")


def test_a_running_job_is_cancelled(page: Any, server: Running) -> None:
    ready(page, server.url)
    page.keyboard.press("Alt+f")
    set_value(page, "steps", "5000")
    page.click(".form-run")
    page.wait_for_function("() => /Sampler [1-9]/.test(document.getElementById('progress-label').textContent)")
    page.click("#cancel")
    page.wait_for_function("() => document.getElementById('progress-label').textContent === 'Cancelled'")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_anyone(page: Any, server: Running, theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    ready(page, server.url)
    found = {"editor": violations(page)}
    for name in ("Queue and history", "Results", "Nodes", "Outline", "Properties", "Workflows", "Models", "Templates", "Problems"):
        panel(page, name)
        page.wait_for_timeout(250)
        found[name] = violations(page)
    for words in ("Settings", "Keys", "Colour palettes", "About this server", "Missing models and nodes", "Node packs", "Save as"):
        command(page, words)
        page.wait_for_selector("dialog[open]:not(.palette)")
        page.wait_for_timeout(150)
        found[words] = violations(page)
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")
    command(page, "Form view")
    page.wait_for_selector(".form-view")
    found["form"] = violations(page)
    assert {name: list(dict.fromkeys(each)) for name, each in found.items() if each} == {}


def test_a_phone_shows_it_all(browser: Any, server: Running) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True, bypass_csp=True)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    ready(page, server.url)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.tap(".rail button[aria-label^='Queue and history']")
    page.wait_for_selector(".side h2:text-is('Queue and history')")
    assert page.evaluate("document.querySelector('.side').offsetWidth === innerWidth")
    page.tap(".side [aria-label='Close the panel']")
    page.tap("[aria-label=Menu]")
    page.tap("[role=menuitem]:has-text('Form view')")
    page.wait_for_selector(".form-view")
    assert page.evaluate("document.querySelector('.form-view').scrollWidth <= innerWidth")
    page.tap(".form-run")
    page.wait_for_selector(".form-result img:not([data-preview])")
    assert violations(page) == []
    context.close()


def test_the_page_speaks_another_language_and_keys_can_be_chosen(page: Any, server: Running) -> None:
    page.add_init_script("localStorage.getItem('emulsion.settings') ?? localStorage.setItem('emulsion.settings', '{\"language\": \"de\"}')")
    ready_german = "() => document.documentElement.lang === 'de' && document.getElementById('connection')?.textContent === 'Verbunden'"
    page.goto(server.url)
    page.wait_for_selector("html[data-ready]")
    page.wait_for_function(ready_german)
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open] .setting")
    page.fill("dialog [type=search]", "Warteschlange")
    page.locator("dialog .setting button", has_text="Wählen").first.click()
    page.keyboard.press("Control+F9")
    page.wait_for_selector("dialog kbd:text-is('Ctrl+F9'), dialog kbd:text-is('Strg+F9')")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+F9")
    page.wait_for_selector(".side h2:has-text('Warteschlange')")


def test_a_palette_is_made_measured_brought_and_kept(page: Any, server: Running) -> None:
    ready(page, server.url)
    command(page, "Colour palettes")
    page.click("dialog button:text-is('New from what is shown')")
    page.get_by_label("Text", exact=True).fill("#eeeeee")
    page.wait_for_selector("dialog .problem-text:has-text('Hard to read')")
    assert page.locator(".node").first.evaluate("node => getComputedStyle(node).color") == "rgb(238, 238, 238)"
    page.set_input_files("dialog input[type=file]", {
        "name": "sea.json",
        "mimeType": "application/json",
        "buffer": b'{"name": "Sea", "base": "light", "colors": {"ground": "#d9eef5", "accent": "#00506b"}}',
    })  # fmt: skip
    page.wait_for_selector("dialog .soft:has-text('contrast they need')")
    assert violations(page) == []
    page.reload()
    page.wait_for_selector("html[data-ready]")
    shown = page.evaluate("[document.documentElement.dataset.theme, getComputedStyle(document.querySelector('.graph')).backgroundColor]")
    assert shown == ["light", "rgb(217, 238, 245)"]
    command(page, "Colour palettes")
    page.click("dialog button:text-is('Delete')")
    assert page.locator("dialog option").all_text_contents() == ["None: a theme as it is", "My colours"]
    page.locator("dialog select").first.select_option(label="My colours")
    page.click("dialog button:text-is('Delete')")
    assert page.evaluate("document.documentElement.style.length") == 0


def test_a_frozen_node_keeps_its_result_until_it_is_thawed(page: Any, server: Running) -> None:
    def run_again(prompt: str, status: str) -> None:
        page.locator(".node [data-widget=text] textarea").first.fill(prompt)
        page.keyboard.press("Control+Enter")
        for name in ("steps", "filename_prefix"):
            page.wait_for_selector(f".node[data-status={status}]:has([data-widget={name}])")

    def switch(now: str) -> None:
        page.locator(".node:has([data-widget=steps]) .title").click()
        command(page, "Freeze or thaw the result")
        page.wait_for_selector(f".node{now}:has([data-widget=steps])")

    ready(page, server.url)
    run_again("a blue moon", "done")
    switch(".frozen")
    run_again("a green hill", "cached")  # the seed moved on and the prompt is another, yet nothing had to run
    switch(":not(.frozen)")
    run_again("a green hill, again", "done")


def test_properties_show_all_of_what_is_selected_and_the_starred_else(page: Any, server: Running) -> None:
    ready(page, server.url)
    panel(page, "Properties")
    page.wait_for_selector(".properties [data-widget=ckpt_name]")
    assert page.locator(".properties [data-widget=scheduler]").count() == 0, "not among what people usually set"
    page.locator(".node:has([data-widget=steps]) .title").click()
    page.wait_for_selector(".properties [data-widget=scheduler]")  # the panel shows the node, no longer what is starred
    steps = page.locator(".properties [data-widget=steps] input")
    steps.fill("7")
    steps.press("Enter")
    page.wait_for_function("() => document.querySelector('.node [data-widget=steps] input').value === '7'")
    page.get_by_label("scheduler in the form").click()
    page.wait_for_selector(".properties [aria-label='scheduler in the form'][aria-pressed=true]")
    page.get_by_label("In a run").select_option("Bypassed")
    page.wait_for_selector(".node.bypassed:has([data-widget=steps])")
    page.wait_for_selector(".properties .star", state="hidden")
    page.get_by_label("In a run").select_option("Runs")
    page.locator(".graph").focus()
    command(page, "Select nothing")
    page.wait_for_selector(".properties [data-widget=scheduler]")


def test_nodes_are_found_in_the_library_and_in_the_workflow(page: Any, server: Running) -> None:
    ready(page, server.url)
    page.keyboard.press("Alt+n")
    panel(page, "Nodes")
    page.fill(".side [type=search]", "empty latent im")
    page.wait_for_function("() => document.querySelector('.library .card')?.textContent.includes('Empty Latent Image')")
    row = page.locator(".library .card").first
    row.locator(".star").click()
    row.locator("button.what").click()
    counted(page, ".node", 1)
    page.fill(".side [type=search]", "")
    page.wait_for_selector(".library h3:text-is('Favourites')")
    favourite = page.locator(".library .card:has-text('Empty Latent Image')").first
    favourite.drag_to(page.locator(".stage"), target_position={"x": 500, "y": 500})
    counted(page, ".node", 2)
    panel(page, "Models")
    page.wait_for_selector(".side .card:has-text('emulsion-tiny')")
    page.locator(".side .card:has-text('emulsion-tiny')").drag_to(page.locator(".stage"), target_position={"x": 300, "y": 120})
    page.wait_for_selector(".node [data-widget=ckpt_name] button:text-is('emulsion-tiny.safetensors')")
    page.keyboard.press("Control+f")
    page.wait_for_selector(".outline .card")
    page.keyboard.type("tiny.safe")
    page.wait_for_function("() => document.querySelectorAll('.outline .card').length === 1")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.getAttribute('aria-label')?.startsWith('Load Checkpoint')")


def test_missing_models_are_named_with_what_could_stand_in_for_them(page: Any, server: Running) -> None:
    ready(page, server.url)
    loader = {"type": "CheckpointLoaderSimple", "size": [300, 100]}
    graph = {
        "version": 0.4, "last_node_id": 2, "last_link_id": 0, "links": [],
        "models": [{"name": "far.safetensors", "url": "https://models.invalid/far.safetensors", "directory": "checkpoints"}],
        "nodes": [{**loader, "id": 1, "pos": [0, 0], "widgets_values": ["far.safetensors"]},
                  {**loader, "id": 2, "pos": [400, 0], "widgets_values": ["other/Emulsion-Tiny.safetensors"]}],
    }  # fmt: skip
    open_file(page, "lacks.json", json.dumps(graph).encode())
    page.wait_for_selector("dialog[open]:has-text('far.safetensors')")
    page.click("dialog button:has-text('Fetch')")
    assert "models.invalid" in page.wait_for_selector(".toast.bad").text_content(), "a host nobody allowed"
    page.click("dialog button:has-text('Use what was found for 1')")
    page.select_option("dialog select[aria-label*='far']", "emulsion-tiny.safetensors")
    page.keyboard.press("Escape")
    picked = "() => [...document.querySelectorAll('.node .pick')].filter((b) => b.textContent === 'emulsion-tiny.safetensors').length"
    page.wait_for_function(f"{picked} === 2")
    panel(page, "Models")
    page.click(".side .card button.what:has-text('emulsion-tiny')")
    page.click("dialog button:has-text('Work it out')")
    page.wait_for_function("() => /[0-9a-f]{64}/.test(document.querySelector('dialog dl').textContent)")
    assert violations(page) == []
    page.expected.append("status of 4")
