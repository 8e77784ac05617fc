from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest

from backend.base.jsonable import dumps, loads
from backend.graph.declare import Bool, Choice, Combo, FileChoice, Float, Int, Seed, Text, Wired, declared, node
from backend.graph.describe import from_wire, object_info, to_wire
from backend.graph.registry import Registry
from backend.graph.schema import Files, NodeType, Socket, fits
from tests.graph.toys import REGISTRY

Model = Annotated[object, Socket("MODEL")]
Latent = Annotated[object, Socket("LATENT")]
Image = Annotated[object, Socket("IMAGE")]
Mask = Annotated[object, Socket("MASK")]
OBJECT_INFO = Path(__file__).resolve().parents[3] / "shared" / "object_info.json"


class ImageMask(NamedTuple):
    image: Image
    mask: Mask


@node("LatentUpscale", title="Upscale Latent", category="latent")
def latent_upscale(
    ctx: Any,
    *,
    samples: Latent,
    upscale_method: str = Choice(["nearest-exact", "bilinear", "area", "bicubic", "bislerp"]),
    width: int = Int(512, min=0, max=16384, step=8),
    height: int = Int(512, min=0, max=16384, step=8),
    crop: str = Choice(["disabled", "center"]),
) -> Latent:
    """Help."""
    return samples


@node("LoadImage", title="Load Image", category="image", outputs=("IMAGE", "MASK"))
def load_image(ctx: Any, *, image: str = Choice(Files("input", content=("image",)), image_upload=True)) -> ImageMask:
    return ImageMask(image, image)


@node("SaveImage", title="Save Image", category="image", output=True, hidden=("PROMPT", "EXTRA_PNGINFO"))
def save_image(ctx: Any, *, images: Image = Wired(tooltip="t"), filename_prefix: str = Text("ComfyUI", tooltip="t")) -> None:
    return None


@node("StringTrim", title="Trim", category="utils/string", module="comfy_extras.nodes_string", form="v3")
def trim(ctx: Any, *, string: str = Text(multiline=True), mode: str = Combo(["Both", "Left", "Right"])) -> str:
    return string


@node(
    "RebatchLatents", title="Rebatch Latents", category="latent/batch", module="comfy_extras.nodes_rebatch", form="v3", input_is_list=True
)
def rebatch(ctx: Any, *, latents: Latent, batch_size: int = Int(1, min=1, max=4096)) -> list[Latent]:
    return [latents]


@node("KSamplerish", category="sampling")
def sampler(
    ctx: Any, *, model: Model = Wired(), seed: int = Seed(), cfg: float = Float(8.0, round=0.01), mask: Mask | None = None
) -> Latent:
    return (seed, cfg, mask)


def strip(value: Any) -> Any:
    """Without the prose, as the reference file is."""
    if isinstance(value, dict):
        return {k: strip(v) for k, v in value.items() if k != "tooltip"}
    return [strip(v) for v in value] if isinstance(value, list) else value


@pytest.mark.skipif(not OBJECT_INFO.exists(), reason="the reference file ../shared/object_info.json is not here")
@pytest.mark.parametrize("function", [latent_upscale, load_image, save_image, trim, rebatch], ids=lambda f: f.node_type.id)
def test_the_published_form_is_the_reference_one(function: Any) -> None:
    reference = json.loads(OBJECT_INFO.read_text())[function.node_type.id]
    made = strip(object_info(function.node_type, lambda files: ["example.png"]))
    assert made | {"description": ""} == reference


def test_without_the_reference_file_the_forms_are_known_by_heart() -> None:
    info = object_info(sampler.node_type, lambda files: [])  # type: ignore[attr-defined]
    assert info["input"]["required"] == {
        "model": ["MODEL", {}],
        "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}],
        "cfg": ["FLOAT", {"default": 8.0, "round": 0.01}],
    }
    assert info["input"]["optional"] == {"mask": ["MASK"]} and "hidden" not in info["input"]
    assert info["input_order"] == {"required": ["model", "seed", "cfg"], "optional": ["mask"]}
    assert "output_tooltips" not in info and info["display_name"] == "KSamplerish"
    v3 = object_info(trim.node_type, lambda files: [])  # type: ignore[attr-defined]
    assert v3["output_tooltips"] == [None] and v3["deprecated"] is False and v3["api_node"] is False
    assert v3["input"]["required"]["mode"] == ["COMBO", {"multiselect": False, "options": ["Both", "Left", "Right"]}]


def test_direct_calls_see_values_not_widgets() -> None:
    assert sampler(None, model=1) == (0, 8.0, None)


def test_help_is_the_docstring() -> None:
    assert latent_upscale.node_type.description == "Help."  # type: ignore[attr-defined]


@pytest.mark.parametrize("id", list(REGISTRY))
def test_types_survive_the_wire(id: str) -> None:
    t = REGISTRY[id]
    back = from_wire(loads(dumps(to_wire(t))))
    assert back.run is None and back.by_name.keys() == t.by_name.keys()
    files = {"n": 0}

    def choices(asked: Files) -> list[str]:
        files["n"] += 1
        return [asked.kind]

    assert object_info(back, choices) == object_info(t, choices)
    assert [(c.low, c.high, c.choices, c.wildcard) for c in back.checks] == [(c.low, c.high, c.choices, c.wildcard) for c in t.checks]


def test_files_inside_options_survive_too() -> None:
    @node("X", category="c", form="v3")
    def x(ctx: Any, *, name: str = Combo(Files("loras", extra=("none",)))) -> None:
        return None

    t: NodeType = x.node_type  # type: ignore[attr-defined]
    back = from_wire(loads(dumps(to_wire(t))))
    assert object_info(back, lambda f: ["a", *f.extra])["input"]["required"]["name"] == [
        "COMBO",
        {"multiselect": False, "options": ["a", "none"]},
    ]
    assert back.checks[0].choices == Files("loras", extra=("none",))


def test_a_signature_that_says_too_little_is_refused() -> None:
    def no_type(ctx: Any, *, a: Any) -> None: ...
    def no_widget(ctx: Any, *, a: int) -> None: ...
    def bad_return(ctx: Any) -> dict[str, int]: ...
    def bare_wired(ctx: Any, *, a: Any = Wired()) -> None: ...

    for function in (no_type, no_widget, bad_return, bare_wired):
        with pytest.raises(TypeError):
            node("Bad", category="c")(function)


def test_optional_widgets_and_files() -> None:
    @node("Y", category="c")
    def y(ctx: Any, *, a: int = Int(3, optional=True), b: bool = Bool(optional=True), file: str = FileChoice("vae"), **rest: Any) -> int:
        return a

    t: NodeType = y.node_type  # type: ignore[attr-defined]
    assert t.required == ("file",) and t.any_input and t.outputs[0].kind == "INT"
    assert y(None, file="x") == 3
    assert declared({"y": y, "z": y, "n": 1}) == [t]


def test_registries_are_values() -> None:
    one = Registry([trim.node_type])  # type: ignore[attr-defined]
    two = one.with_types([rebatch.node_type])  # type: ignore[attr-defined]
    assert list(one) == ["StringTrim"] and len(two) == 2
    with pytest.raises(ValueError, match="StringTrim"):
        Registry([trim.node_type, trim.node_type])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("received", "declared_kind", "wildcard", "expected"),
    [
        ("IMAGE", "IMAGE", False, True),
        ("INT", "FLOAT", False, False),
        ("IMAGE", "MASK, IMAGE", False, True),
        ("A,B", "B,C", False, True),
        ("A,B", "C,D", False, False),
        ("*", "IMAGE", False, False),
        ("*", "*", False, True),
        ("IMAGE", "*", False, False),
        ("IMAGE", "*", True, True),
        (("a", "b"), ("a", "b"), False, True),
        (("a", "b"), ("b", "a"), False, False),
        (("a",), "a", False, False),
    ],
)
def test_which_links_fit(received: Any, declared_kind: Any, wildcard: bool, expected: bool) -> None:
    assert fits(received, declared_kind, wildcard) is expected
