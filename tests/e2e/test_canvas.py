"""The graph in a real browser: built by mouse and by keys alone, run, edited, taken back; at a phone's size, by fingers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE_MS, Running
from tests.e2e.hands import counted, drawn, ready, settled
from tests.e2e.test_editor import open_file, violations

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PROMPT = "a small green ring on a white background"


def node(page: Any, title: str) -> Any:
    return page.locator(f".node[aria-label^='{title}']")


def titles(page: Any) -> list[str]:
    """Of the nodes there are, by their names for those who do not see."""
    settled(page)
    names = page.eval_on_selector_all(".node", "all => all.map(n => n.getAttribute('aria-label'))")
    return sorted(re.split(",", name)[0] for name in names)


def dot(page: Any, title: str, side: str, name: str) -> tuple[float, float]:
    """Where a socket is on the screen."""
    drawn(page)
    box = node(page, title).last.locator(f".socket.{side}", has_text=re.compile(f"^{name}$")).bounding_box()
    scale = box["height"] / 20
    return (box["x"] + 5 * scale if side == "inputs" else box["x"] + box["width"] - 5 * scale, box["y"] + box["height"] / 2)


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=3)
    page.mouse.move(*end, steps=3)
    page.mouse.up()


def choose(page: Any, words: str) -> None:
    """Type into the open list and take what is found first."""
    field = page.wait_for_selector(".picker input")
    page.keyboard.type(words)
    page.keyboard.press("Enter")
    page.wait_for_function("field => !field.isConnected", arg=field)  # another list may be open already


def emptied(page: Any) -> None:
    page.locator(".graph").focus()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.wait_for_function("() => !document.querySelector('.node')")


# In the page: a browser that was just told to hold requests back may let the next one through.
ANSWER = """() => {
    const fetch = window.fetch;
    window.posted = null;
    window.fetch = async (address, options) => {
        if (!new URL(address).pathname.endsWith('/prompt')) return fetch(address, options);
        window.fetch = fetch;
        const answer = JSON.stringify({ prompt_id: JSON.parse(options.body).prompt_id, number: 1, node_errors: {} });
        return { ok: true, status: 200, headers: new Headers(), text: async () => {
            setTimeout(() => window.posted = options.body);  // once the page has done what it does with the answer
            return answer;
        } };
    };
}"""


def sent(page: Any) -> dict[str, Any]:
    """The graph as it would run: what the page sends. The server does not hear of it."""
    page.evaluate(ANSWER)
    page.keyboard.press("Control+Enter")
    prompt: dict[str, Any] = json.loads(page.wait_for_function("() => window.posted").json_value())["prompt"]
    return prompt


def by_type(prompt: dict[str, Any], kind: str) -> dict[str, Any]:
    inputs: dict[str, Any] = next(each for each in prompt.values() if each["class_type"] == kind)["inputs"]
    return inputs


@pytest.fixture
def editor(page: Any, server: Running) -> Any:
    ready(page, server.url)
    page.wait_for_function("() => document.querySelectorAll('.node').length === 7")
    settled(page)
    return page


def test_a_graph_is_built_with_the_mouse_runs_and_is_taken_back(editor: Any) -> None:
    page = editor
    emptied(page)
    page.mouse.dblclick(200, 160)
    choose(page, "load checkpoint")
    drag(page, dot(page, "Load Checkpoint", "outputs", "CLIP"), (520, 120))
    choose(page, "clip text encode")
    drag(page, dot(page, "Load Checkpoint", "outputs", "CLIP"), (520, 420))
    choose(page, "clip text encode")
    page.wait_for_function("() => document.querySelectorAll('.node').length === 3")
    drag(page, dot(page, "CLIP Text Encode", "outputs", "CONDITIONING"), (1000, 120))
    choose(page, "ksampler")
    fields = node(page, "CLIP Text Encode").locator("textarea")
    fields.first.fill(PROMPT)
    page.keyboard.press("Escape")
    page.keyboard.press("Home")
    settled(page)
    page.mouse.move(640, 700)
    first = node(page, "CLIP Text Encode").first.locator(".socket.outputs").bounding_box()
    drag(page, (first["x"] + first["width"] - 3, first["y"] + first["height"] / 2), dot(page, "KSampler", "inputs", "negative"))
    drag(page, dot(page, "Load Checkpoint", "outputs", "MODEL"), dot(page, "KSampler", "inputs", "model"))
    drag(page, dot(page, "KSampler", "inputs", "latent_image"), (640, 700))
    choose(page, "empty latent image")
    drag(page, dot(page, "KSampler", "outputs", "LATENT"), (1150, 660))
    choose(page, "vae decode")
    page.keyboard.press("Home")
    settled(page)
    drag(page, dot(page, "Load Checkpoint", "outputs", "VAE"), dot(page, "VAE Decode", "inputs", "vae"))
    drag(page, dot(page, "VAE Decode", "outputs", "IMAGE"), (700, 720))
    choose(page, "save image")
    page.keyboard.press("Home")
    settled(page)
    node(page, "KSampler").locator("[data-widget=steps] input").fill("2*2")
    page.keyboard.press("Enter")
    for name in ("width", "height"):
        node(page, "Empty Latent Image").locator(f"[data-widget={name}] input").fill("64")
        page.keyboard.press("Enter")
    page.keyboard.press("Control+Enter")
    picture = page.wait_for_selector(".node[aria-label^='Save Image'] .media img:not(.preview)")
    assert picture.evaluate("i => i.decode().then(() => i.naturalWidth)") == 64
    page.locator(".graph").focus()
    for _ in range(60):
        page.keyboard.press("Control+z")
    page.wait_for_function("() => document.querySelectorAll('.node').length === 7")  # the default graph, before everything was deleted
    for _ in range(60):
        page.keyboard.press("Control+Shift+z")
    assert titles(page) == sorted(
        ["CLIP Text Encode (Prompt)"] * 2 + ["Empty Latent Image", "KSampler", "Load Checkpoint", "Save Image", "VAE Decode"]
    )


def test_a_graph_is_built_and_run_by_keys_alone(editor: Any) -> None:
    page = editor
    press = page.keyboard.press

    def new_node_at(socket: str, kind: str) -> None:
        press("c")
        choose(page, socket)
        choose(page, "a new node")
        choose(page, kind)

    def link(socket: str, target: str) -> None:
        press("c")
        choose(page, socket)
        choose(page, target)

    emptied(page)
    press("a")
    choose(page, "load checkpoint")
    new_node_at("output MODEL", "ksampler")
    new_node_at("input positive", "clip text encode")
    link("input clip", "load checkpoint clip")
    press("Enter")
    page.keyboard.type(PROMPT)
    assert page.evaluate("document.activeElement.value") == PROMPT
    press("Escape")
    press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("KSampler")
    new_node_at("input negative", "clip text encode")
    link("input clip", "load checkpoint clip")
    press("ArrowRight")
    new_node_at("input latent_image", "empty latent image")
    press("ArrowRight")
    press("ArrowRight")
    new_node_at("output LATENT", "vae decode")
    link("input vae", "load checkpoint vae")
    new_node_at("output IMAGE", "save image")
    prompt = sent(page)
    sampler = by_type(prompt, "KSampler")
    assert prompt[sampler["positive"][0]]["inputs"]["text"] == PROMPT
    assert prompt[sampler["negative"][0]]["inputs"]["text"] == ""
    assert prompt[sampler["latent_image"][0]]["class_type"] == "EmptyLatentImage"
    assert by_type(prompt, "VAEDecode")["vae"] == by_type(prompt, "CLIPTextEncode")["clip"][:1] + [2]
    assert by_type(prompt, "SaveImage")["images"][1] == 0


def test_nodes_are_moved_chosen_copied_and_changed(editor: Any) -> None:
    page = editor
    box = node(page, "Sampler").bounding_box()
    drag(page, (box["x"] + 60, box["y"] + 8), (box["x"] + 100, box["y"] + 208))
    moved = node(page, "Sampler").bounding_box()
    assert moved["y"] - box["y"] == pytest.approx(200, abs=2)
    page.keyboard.press("Control+z")
    assert node(page, "Sampler").bounding_box()["y"] == pytest.approx(box["y"], abs=2)
    # box select, copy and paste
    page.mouse.click(700, 700)
    page.keyboard.down("Shift")
    first, last = node(page, "Prompt").bounding_box(), node(page, "Negative prompt").bounding_box()
    drag(page, (first["x"] - 12, first["y"] - 12), (last["x"] + last["width"] - 20, last["y"] + last["height"] - 10))
    page.keyboard.up("Shift")
    counted(page, ".node.selected", 2)
    page.keyboard.press("Control+c")
    page.keyboard.press("Control+v")
    page.wait_for_function("() => document.querySelectorAll('.node').length === 9")
    page.keyboard.press("Delete")
    page.wait_for_function("() => document.querySelectorAll('.node').length === 7")
    # several at once: one value, one step
    page.keyboard.down("Shift")
    drag(page, (first["x"] - 12, first["y"] - 12), (last["x"] + last["width"] - 20, last["y"] + last["height"] - 10))
    page.keyboard.up("Shift")
    counted(page, ".node.selected", 2)
    node(page, "Prompt").locator("textarea").fill("both")
    assert node(page, "Negative prompt").locator("textarea").input_value() == "both"
    page.keyboard.press("Escape")
    page.keyboard.press("Control+b")
    counted(page, ".node.bypassed", 2)
    page.keyboard.press("Control+b")
    page.keyboard.press("Alt+c")
    counted(page, ".node.collapsed", 2)
    page.keyboard.press("Control+z")
    page.keyboard.press("F2")
    page.keyboard.type("Words")
    page.keyboard.press("Enter")
    counted(page, ".node[aria-label^='Words']", 1)
    # a line by hand: around nodes, and across links; what is locked stays
    page.mouse.click(700, 700)
    page.keyboard.down("Alt")
    sampler = node(page, "Sampler").bounding_box()
    page.mouse.move(sampler["x"] - 20, sampler["y"] - 20)
    page.mouse.down()
    right, low = sampler["x"] + sampler["width"] + 20, sampler["y"] + sampler["height"] + 20
    for x, y in ((right, sampler["y"] - 20), (right, low), (sampler["x"] - 20, low)):
        page.mouse.move(x, y, steps=6)
    page.mouse.up()
    counted(page, ".node.selected", 1)
    page.keyboard.down("Shift")
    drag(page, (right - 8, sampler["y"] - 30), (right - 8, low + 60))
    page.keyboard.up("Shift")
    page.keyboard.up("Alt")
    assert "samples" not in by_type(sent(page), "VAEDecode")
    for _ in ("the new seed", "the cut"):
        page.keyboard.press("Control+z")
    assert "samples" in by_type(sent(page), "VAEDecode")
    page.keyboard.press("Control+a")
    page.locator(".selection-bar").get_by_role("button", name="Collapse").click()
    counted(page, ".node.collapsed", 7)


def test_a_link_that_does_not_fit_says_why(editor: Any) -> None:
    page = editor
    end = dot(page, "Decode", "inputs", "vae")
    page.mouse.move(*dot(page, "Sampler", "outputs", "LATENT"))
    page.mouse.down()
    page.mouse.move(end[0] - 30, end[1], steps=3)
    page.mouse.move(*end, steps=3)
    assert page.text_content(".graph .hint.bad") == "LATENT does not fit VAE."
    assert "dim" in node(page, "Size").get_attribute("class")
    page.keyboard.press("Escape")
    page.mouse.up()
    counted(page, ".graph .hint", 0)
    prompt = sent(page)
    assert by_type(prompt, "VAEDecode")["vae"][1] == 2, "nothing was changed"


def test_a_subgraph_is_made_entered_shown_outside_and_unpacked(editor: Any) -> None:
    page = editor
    before = sent(page)
    node(page, "Sampler").locator(".title").click()
    page.keyboard.down("Shift")
    node(page, "Prompt").locator(".title").click()
    page.keyboard.up("Shift")
    page.keyboard.press("Control+Shift+g")
    page.wait_for_selector(".node[data-kind=subgraph]")
    page.keyboard.press("Alt+ArrowDown")
    page.wait_for_selector(".crumbs button[aria-current]")
    page.wait_for_selector(".node [data-widget=steps]")
    assert titles(page) == ["Prompt", "Sampler"]
    page.locator("[data-widget=steps] span").first.click(button="right")
    page.get_by_role("menuitem", name="Show steps on the subgraph").click()
    page.locator(".crumbs button").first.click()
    outside = page.wait_for_selector(".node[data-kind=subgraph] [data-widget=steps] input")
    outside.fill("7")
    page.keyboard.press("Enter")
    assert by_type(sent(page), "KSampler")["steps"] == 7
    node(page, "Subgraph").locator(".title").click(button="right")
    page.get_by_role("menuitem", name="Publish the subgraph").click()
    page.wait_for_selector("dialog[open] input").fill("tests/Words and steps")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]", state="detached")
    page.wait_for_function("() => document.querySelector('.graph .unseen').textContent.includes('any workflow')")
    page.keyboard.press("Alt+n")
    page.wait_for_function("() => !document.querySelector('.node')")
    page.keyboard.press("a")
    choose(page, "words and steps")
    inserted = page.wait_for_selector(".node[data-kind=subgraph] [data-widget=steps] input")
    assert inserted.input_value() == "7"
    page.keyboard.press("Alt+ArrowDown")
    page.wait_for_selector(".node[aria-label^='Sampler'] [data-widget=steps]")
    assert titles(page) == ["Prompt", "Sampler"]
    page.keyboard.press("Alt+w")
    page.get_by_role("button", name="Close without saving").click()
    node(page, "Subgraph").locator(".title").click(button="right")
    page.get_by_role("menuitem", name="Unpack the subgraph").click()
    page.wait_for_function("() => document.querySelectorAll('.node').length === 7")
    after = by_type(sent(page), "KSampler")
    was = by_type(before, "KSampler")
    assert after["steps"] == 7
    assert {name: after[name] for name in ("cfg", "sampler_name")} == {name: was[name] for name in ("cfg", "sampler_name")}


HOSTILE = "# Title\n\n<img src=x onerror='window.hurt=1'><script>window.hurt=1</script>[bad](javascript:window.hurt=1) **bold**"


def test_notes_ghosts_and_hostile_titles_are_shown_and_harmless(editor: Any) -> None:
    page = editor
    graph = {
        "version": 0.4, "last_node_id": 3, "last_link_id": 0, "links": [], "groups": [{"title": "<b>G</b>", "bounding": [0, 0, 900, 500]}],
        "nodes": [
            {"id": 1, "type": "MarkdownNote", "pos": [20, 60], "size": [300, 200], "widgets_values": [HOSTILE]},
            {"id": 2, "type": "NobodyKnows", "title": "<img src=x onerror='window.hurt=1'>", "pos": [400, 60], "size": [300, 200],
             "inputs": [{"name": "a", "type": "IMAGE", "link": None}], "outputs": [], "widgets_values": [12, "kept", None]},
        ],
    }  # fmt: skip
    open_file(page, "hostile.json", json.dumps(graph).encode())
    page.wait_for_selector(".markdown strong")
    assert page.evaluate("window.hurt") is None
    assert page.locator(".markdown img, .markdown script").count() == 0
    assert "javascript" not in (page.get_attribute(".markdown a >> nth=0", "href") or "")
    ghost = page.locator(".node[data-kind=ghost]")
    assert "not known to the server" in ghost.get_attribute("aria-label")
    assert ghost.locator("input").nth(0).input_value() == "12"
    assert ghost.locator("input").nth(1).input_value() == "kept"
    assert violations(page) == [], violations(page)


def test_a_picture_is_uploaded_and_masked_on_its_node(editor: Any, tmp_path: Path) -> None:
    from PIL import Image

    page = editor
    Image.new("RGB", (60, 40), (10, 120, 200)).save(tmp_path / "canvas-blue.png")
    emptied(page)
    page.mouse.dblclick(400, 300)
    choose(page, "load image")
    page.locator(".widget[data-kind=upload] input[type=file]").set_input_files(str(tmp_path / "canvas-blue.png"))
    page.wait_for_selector(".shown img[alt='canvas-blue.png']")
    page.get_by_role("button", name="Draw a mask").click()
    page.wait_for_selector(".mask-editor .tools")
    assert violations(page) == [], violations(page)
    box = page.locator(".mask-editor .sheet").bounding_box()
    drag(
        page,
        (box["x"] + box["width"] / 2 - 60, box["y"] + box["height"] / 2),
        (box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2),
    )
    page.locator(".mask-editor").get_by_role("button", name="Save").click()
    page.wait_for_selector(".mask-editor", state="detached")
    image = page.wait_for_selector(".shown img[alt^='masked-']")
    assert image.evaluate("i => i.decode().then(() => i.naturalWidth)") == 60
    page.keyboard.press("Escape")
    page.locator(".graph").focus()
    page.keyboard.press("Control+z")
    page.wait_for_selector(".shown img[alt='canvas-blue.png']")


def test_boxes_are_drawn_choices_bring_inputs_and_rows_grow(editor: Any) -> None:
    page = editor
    prompt = {
        "1": {"class_type": "CLIPTextEncode", "inputs": {"text": "a ring", "clip": ["9", 1]}},
        "2": {"class_type": "ConditioningSetArea", "inputs": {"conditioning": ["1", 0], "x": 0, "y": 0, "width": 64, "height": 64}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
        "4": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "5": {"class_type": "ResizeImageMaskNode", "inputs": {"input": ["4", 0], "resize_type": "scale width", "resize_type.width": 96}},
        "6": {"class_type": "BatchImagesNode", "inputs": {"images.image0": ["4", 0]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0]}},
        "9": {"class_type": "CheckpointLoaderSimple", "inputs": {}},
    }  # fmt: skip
    open_file(page, "boxes.json", json.dumps(prompt).encode())
    page.wait_for_function("() => document.querySelector('.tab-box.active .tab').textContent === 'boxes'")
    page.wait_for_selector(".node[aria-label^='Conditioning (Set Area)']")
    settled(page)
    node(page, "Conditioning (Set Area)").locator(".title").click(button="right")
    page.get_by_role("menuitem", name="Draw the box").click()
    sheet = page.wait_for_selector(".box-sheet").bounding_box()
    assert violations(page) == [], violations(page)
    step = sheet["width"] / 512
    drag(page, (sheet["x"] + 203 * step, sheet["y"] + 101 * step), (sheet["x"] + 400 * step, sheet["y"] + 350 * step))
    page.get_by_label("Left").fill("96")
    page.get_by_role("button", name="Use this box").click()
    area = node(page, "Conditioning (Set Area)")
    assert [area.locator(f"[data-widget={name}] input").input_value() for name in ("x", "y", "width", "height")] == [
        "96",
        "104",
        "200",
        "248",
    ]
    resize = node(page, "Resize Image/Mask")
    assert resize.locator("[data-widget='resize_type.width'] input").input_value() == "96"
    resize.locator("[data-widget=resize_type] button").click()
    choose(page, "by multiplier")
    resize.locator("[data-widget='resize_type.multiplier'] input").fill("2")
    page.keyboard.press("Enter")
    drag(page, dot(page, "Resize Image/Mask", "outputs", "resized"), dot(page, "Batch Images", "inputs", "image1"))
    page.wait_for_selector(".node[aria-label^='Batch Images'] .socket.inputs >> text=image2")
    prompt = sent(page)
    assert by_type(prompt, "BatchImagesNode") == {"images.image0": ["4", 0], "images.image1": ["5", 0]}
    way = {"resize_type": "scale by multiplier", "resize_type.multiplier": 2}
    assert by_type(prompt, "ResizeImageMaskNode") == {"input": ["4", 0], **way, "scale_method": "area"}


def test_the_canvas_is_worked_by_fingers_on_a_phone(browser: Any, server: Running) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True, bypass_csp=True)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    ready(page, server.url)
    touch = context.new_cdp_session(page)

    def fingers(kind: str, *points: tuple[float, float]) -> None:
        touch.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]}
        )

    settled(page)
    fingers("touchStart", (150, 400), (240, 400))
    for spread in range(10, 130, 10):
        fingers("touchMove", (150 - spread, 400), (240 + spread, 400))
    fingers("touchEnd")
    page.wait_for_selector(".node")  # near enough to be read now
    settled(page)
    before = page.locator(".node").first.bounding_box()
    fingers("touchStart", (200, 640))
    for y in range(630, 500, -20):
        fingers("touchMove", (200, y))
    fingers("touchEnd")
    settled(page)
    after = page.locator(".node").first.bounding_box()
    assert after["y"] < before["y"] - 60
    context.close()
    assert complaints == []


def test_what_is_being_typed_outlasts_nodes_that_are_made_anew(editor: Any) -> None:
    """As when the scripts of packs arrive, models are read again or the evening turns the theme dark: no letter goes elsewhere."""
    page = editor

    def read_again() -> None:
        page.evaluate(
            """() => new Promise((done) => {
                document.addEventListener('emulsion-refreshed', done, { once: true });
                document.dispatchEvent(new Event('emulsion-refresh'));
            })"""
        )

    steps = node(page, "Sampler").locator("[data-widget=steps] input")
    steps.click()
    first = steps.element_handle()
    page.keyboard.type("1")
    read_again()
    assert not first.evaluate("field => field.isConnected"), "it was made anew, or this shows nothing"
    page.keyboard.type("2")
    second = steps.element_handle()
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("field => !field.isConnected", arg=second)
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    assert by_type(sent(page), "KSampler")["steps"] == 123
    assert page.evaluate("document.activeElement.closest('[data-widget=steps]') !== null")
    text = node(page, "Negative prompt").locator("textarea")
    text.fill("ring blue")
    for _ in "blue":
        page.keyboard.press("ArrowLeft")
    read_again()
    page.keyboard.type("big ")
    assert text.input_value() == "ring big blue"
    page.keyboard.press("Escape")  # to the node itself
    read_again()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Negative prompt")


def test_accessibility_of_the_graph_and_its_lists(editor: Any) -> None:
    page = editor
    assert violations(page) == [], violations(page)
    page.keyboard.press("a")
    page.wait_for_selector(".picker li[role=option]")
    assert violations(page) == [], violations(page)
    page.keyboard.press("Escape")
    page.mouse.click(700, 640, button="right")
    page.wait_for_selector("[role=menu]")
    assert violations(page) == [], violations(page)
    page.keyboard.press("Escape")
    assert page.locator(".node").first.get_attribute("aria-roledescription") == "node"


def test_the_picture_from_afar_moves_with_the_camera(page: Any, server: Running) -> None:
    ready(page, server.url)
    found = page.evaluate("""async () => {
        const [{ FarSheet }, { Camera }] = await Promise.all([import('/canvas/far_sheet.js'), import('/canvas/camera.js')]);
        const ctx = Object.assign(document.createElement('canvas'), { width: 200, height: 100 }).getContext('2d');
        const camera = Object.assign(new Camera(), { x: 0, y: 0, scale: 0.5, width: 200, height: 100 });
        let painted = 0;
        const paint = (to, from) => {
            painted++;
            to.setTransform(from.scale, 0, 0, from.scale, -from.x * from.scale, -from.y * from.scale);
            to.fillStyle = 'white';
            to.fillRect(from.x, from.y, 1000, 1000);
            to.fillStyle = 'red';
            to.fillRect(100, 60, 40, 40);
        };
        const sheet = new FarSheet();
        const seen = () => {
            sheet.draw(ctx, 1, camera, paint);
            const { data } = ctx.getImageData(0, 0, 200, 100);
            const reds = [];
            for (let i = 0; i < data.length; i += 4) if (data[i + 1] < 128) reds.push(i / 4);
            return [reds[0] % 200, Math.floor(reds[0] / 200), reds.length, painted];
        };
        const all = [seen()];
        camera.pan(30, -10);
        all.push(seen());
        camera.pan(30, 0);
        all.push(seen());
        sheet.drop();
        all.push(seen());
        return all;
    }""")
    assert found == [[50, 30, 400, 1], [80, 20, 400, 1], [110, 20, 400, 2], [110, 20, 400, 3]]
