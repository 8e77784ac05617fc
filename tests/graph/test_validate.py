from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.base.jsonable import dumps
from backend.base.paths import Folders
from backend.graph import custom
from backend.graph.choices import FolderChoices
from backend.graph.describe import from_wire, to_wire
from backend.graph.document import InvalidPrompt, Prompt
from backend.graph.registry import Registry
from backend.graph.validate import Checked, refused, validate
from tests.graph.toys import REGISTRY, n

WIRED = Registry(from_wire(to_wire(t)) for t in REGISTRY.values())  # what the front has: no code


def check(raw: dict[str, Any], **more: Any) -> Checked:
    checked = validate(Prompt.parse(raw), REGISTRY, **more)
    dumps([checked.error, checked.node_errors, checked.prompt.to_json()])  # all of it must be sayable
    without_code = validate(Prompt.parse(raw), WIRED, ask=lambda q: custom.answer(REGISTRY, q), **more)
    assert (without_code.error, without_code.node_errors, without_code.targets) == (checked.error, checked.node_errors, checked.targets)
    return checked


def only_error(checked: Checked, node: str) -> dict[str, Any]:
    assert list(checked.node_errors) == [node]
    errors = checked.node_errors[node]["errors"]
    assert len(errors) == 1
    found: dict[str, Any] = errors[0]
    return found


GOOD = {"1": n("Source", seed=5, size=1.0), "2": n("Split", image=["1", 0], mode="a"), "3": n("Show", image=["2", 0])}


def test_a_good_prompt_passes_untouched() -> None:
    checked = check(GOOD)
    assert checked == Checked(("3",), {}, None, checked.prompt)
    assert checked.prompt.to_json() is checked.prompt.raw == GOOD


def test_unknown_types_are_refused_first() -> None:
    checked = check({"7": n("Nope"), "8": n("Show")})
    assert checked.error is not None
    assert (checked.error["type"], checked.error["details"], checked.node_errors) == ("invalid_prompt", "Node ID '#7'", {})


def test_documents_that_cannot_be_parsed_get_the_same_form() -> None:
    with pytest.raises(InvalidPrompt) as caught:
        Prompt.parse({"7": {}})
    error = refused(caught.value)
    assert (error["type"], error["details"]) == ("invalid_prompt", "Node ID '#7'") and "class_type" in error["message"]


def test_there_must_be_an_output() -> None:
    assert (check({"1": n("Source", seed=1, size=1.0)}).error or {})["type"] == "prompt_no_outputs"
    assert (check(GOOD, targets=["1", "zzz"]).error or {})["type"] == "prompt_no_outputs"
    assert (check({}).error or {})["type"] == "prompt_no_outputs"


def test_a_missing_input() -> None:
    checked = check({"3": n("Show")})
    assert only_error(checked, "3") == {
        "type": "required_input_missing",
        "message": "Required input is missing",
        "details": "image",
        "extra_info": {"input_name": "image", "hint": "Give it a value, or connect it."},
    }
    assert checked.node_errors["3"] | {"errors": []} == {"errors": [], "dependent_outputs": ["3"], "class_type": "Show"}
    assert checked.error == {
        "type": "prompt_outputs_failed_validation",
        "message": "Prompt outputs failed validation",
        "details": "Required input is missing: image",
        "extra_info": {},
    }


def test_a_fault_upstream_is_told_where_it_is() -> None:
    checked = check(GOOD | {"1": n("Source", seed=-1, size=1.0)})
    error = only_error(checked, "1")
    assert error["type"] == "value_smaller_than_min" and error["details"] == "seed"
    assert error["extra_info"] == {
        "input_name": "seed",
        "input_config": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1}],
        "received_value": -1,
        "hint": f"Give it a value of at least 0 and at most {2**64 - 1}.",
    }
    assert checked.node_errors["1"]["dependent_outputs"] == ["3"] and (checked.error or {})["details"] == ""


@pytest.mark.parametrize(
    ("link", "type"),
    [
        (["1"], "bad_linked_input"),
        (["1", 0, 0], "bad_linked_input"),
        ([], "bad_linked_input"),
        ([1, 0], "exception_during_validation"),
        (["1", "0"], "exception_during_validation"),
        (["1", True], "exception_during_validation"),
        (["1", 0.0], "exception_during_validation"),
        (["9", 0], "exception_during_validation"),
        (["1", 7], "exception_during_validation"),
        (["1", -1], "exception_during_validation"),
        (["1", 10**30], "exception_during_validation"),
    ],
)
def test_links_that_lead_nowhere(link: Any, type: str) -> None:
    error = only_error(check({"1": n("Source", seed=1, size=1.0), "3": n("Show", image=link)}), "3")
    assert error["type"] == type and error["details"].startswith("image")


def test_below_an_input_the_fault_names_the_link() -> None:
    error = only_error(check(GOOD | {"2": n("Split", image=["9", 0], mode="a")}), "2")
    assert error["type"] == "exception_during_inner_validation"
    assert error["extra_info"]["linked_node"] == ["2", 0] and error["extra_info"]["input_name"] == "image"
    assert error["extra_info"]["exception_type"] == "KeyError"


def test_types_must_fit() -> None:
    error = only_error(check({"1": n("Add", a=1, b=2), "3": n("Show", image=["1", 0])}), "3")
    assert error["type"] == "return_type_mismatch"
    assert error["extra_info"]["received_type"] == "INT" and error["extra_info"]["linked_node"] == ["1", 0]
    assert error["details"] == "image, received_type(INT) mismatch input_type(IMAGE)"


@pytest.mark.parametrize(
    ("node", "passes"),
    [
        (n("Flexible", any=["1", 0]), True),
        (n("Flexible", any=["2", 1], either=["2", 1]), True),
        (n("Flexible", any=["2", 1], either=["4", 0]), False),
        (n("Strict", star=["1", 0]), False),
        (n("Strict", star=["5", 0]), True),
        (n("Flexible", any=["1", 0], combo="not checked"), True),
    ],
)
def test_wildcards_and_lists_of_types(node: dict[str, Any], passes: bool) -> None:
    raw = {
        "1": n("Source", seed=1, size=1.0),
        "2": n("Split", image=["1", 0], mode="a"),
        "4": n("Add", a=1, b=1),
        "5": n("Flexible", any=["1", 0]),
        "6": node,
        "7": n("Strict", star=["5", 0]),
        "8": n("Show", image=["7", 0]),
        "9": n("Flexible", any=["6", 0]),
        "10": n("Show", image=["11", 0]),
        "11": n("Strict", star=["9", 0]),
    }
    assert (check(raw, targets=["10"]).error is None) is passes


@pytest.mark.parametrize(
    "value", [True, False, None, "x", "", {}, {"a": 1}, {"__value__": [1]}, "1e400", 2**64, -(2**64), 10**400, "9" * 5000]
)
def test_what_is_no_whole_number(value: Any) -> None:
    error = only_error(check({"1": n("Add", a=1, b=value), "2": n("ShowNumber", a=["1", 0])}), "1")
    assert error["type"] == "invalid_input_type" and error["details"].startswith("b, ")
    assert error["extra_info"]["input_name"] == "b" and error["extra_info"]["exception_message"]


@pytest.mark.parametrize("value", [True, None, "x", "nan", "inf", "-Infinity", {}, 10**400, float("nan"), float("inf")])
def test_what_is_no_finite_number(value: Any) -> None:
    checked = validate(Prompt.parse(GOOD | {"1": n("Source", seed=1, size=value)}), REGISTRY)
    assert only_error(checked, "1")["type"] == "invalid_input_type"


def test_texts_of_numbers_are_numbers_and_are_written_back() -> None:
    raw = {"1": n("Add", a="64", b=2.7), "2": n("ShowNumber", a=["1", 0]), "3": n("Join", a=["4", 0], b=["4", 0], on="false"),
           "4": n("Source", seed="7", size="2"), "5": n("Show", image=["3", 0]), "6": n("Show", image=["7", 0]),
           "7": n("Split", image=["4", 0], mode="b", note=5)}  # fmt: skip
    checked = check(raw)
    written = checked.prompt.to_json()
    assert checked.error is None and raw["1"]["inputs"]["a"] == "64"
    assert written["1"]["inputs"] == {"a": 64, "b": 2}
    assert written["3"]["inputs"]["on"] is True  # bool("false")
    assert written["4"]["inputs"] == {"seed": 7, "size": 2.0} and isinstance(written["4"]["inputs"]["size"], float)
    assert written["7"]["inputs"]["note"] == "5"
    assert checked.prompt.nodes["1"].inputs["a"] == 64


def test_ranges_have_two_ends() -> None:
    for value, type in ((8.01, "value_bigger_than_max"), (-0.01, "value_smaller_than_min")):
        assert only_error(check(GOOD | {"1": n("Source", seed=1, size=value)}), "1")["type"] == type
    assert check(GOOD | {"1": n("Source", seed=2**64 - 1, size=8)}).error is None


def test_choices() -> None:
    error = only_error(check(GOOD | {"2": n("Split", image=["1", 0], mode="c")}), "2")
    assert error == {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": "mode: 'c' not in ['a', 'b']",
        "extra_info": {
            "input_name": "mode",
            "input_config": [["a", "b"], {}],
            "received_value": "c",
            "hint": "Choose one of the values that are offered.",
        },
    }


def test_a_near_miss_is_told_what_was_meant(tmp_path: Path) -> None:
    choices = files(tmp_path)

    def hint(name: str) -> str:
        raw = {"1": n("Load", name=name), "3": n("Show", image=["1", 0])}
        return str(only_error(check(raw, choices=choices), "1")["extra_info"]["hint"])

    assert hint("A.safetensors") == "Did you mean 'a.safetensors'?"
    assert hint("zzz") == "Put the file into models/checkpoints, or choose one that is there."


@pytest.mark.parametrize("prefix", ["../../x", "/etc/x", "a/../../x", "..", "", "a\0b", "a" * 300])
def test_a_prefix_that_leaves_the_output_directory_is_refused_before_anything_runs(tmp_path: Path, prefix: str) -> None:
    raw = {"1": n("Keep", filename_prefix=prefix)}
    error = only_error(check(raw, choices=files(tmp_path)), "1")
    assert error["type"] == "custom_validation_failed" and error["details"].startswith("filename_prefix - The ")
    assert error["extra_info"]["received_value"] == prefix


@pytest.mark.parametrize("prefix", ["x", "a/b/x", "a/../x", "%year%/x", "ä ö"])
def test_a_prefix_inside_is_fine(tmp_path: Path, prefix: str) -> None:
    choices = files(tmp_path)
    assert check({"1": n("Keep", filename_prefix=prefix)}, choices=choices).error is None
    assert not (tmp_path / "output" / "a").exists()


@pytest.mark.parametrize("value", [["x"], {"__value__": ["a"]}, {}, None, 5, True])
def test_choices_of_odd_types(value: Any) -> None:
    checked = check(GOOD | {"2": n("Split", image=["1", 0], mode=value)})
    assert only_error(checked, "2")["type"] in ("value_not_in_list", "bad_linked_input")


def files(tmp_path: Path) -> FolderChoices:
    folders = Folders.of(tmp_path)
    folders.create()
    checkpoints = folders.models / "checkpoints"
    checkpoints.mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"")
    (checkpoints / "a.safetensors").write_bytes(b"")
    for i in range(25):
        (folders.input / f"{i}.png").write_bytes(b"")
    (folders.input / "sub").mkdir()
    (folders.input / "sub" / "y.png").write_bytes(b"")
    (folders.output / "made.png").write_bytes(b"")
    (folders.input / "link.png").symlink_to("/etc/passwd")
    return FolderChoices(folders)


def picture(value: Any) -> dict[str, Any]:
    return {"1": n("Load", name="a.safetensors", picture=value), "3": n("Show", image=["1", 0])}


@pytest.mark.parametrize("name", ["0.png", "sub/y.png", "0.png [input]", "made.png [output]"])
def test_files_that_exist_may_be_named(tmp_path: Path, name: str) -> None:
    assert check(picture(name), choices=files(tmp_path)).error is None


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "../../../etc/passwd",
        "/etc/passwd",
        "none.png",
        "made.png",
        "../input/../secret.png [output]",
        "\0",
        "",
        "a" * 5000,
        5,
        None,
        "sub",
    ],
)
def test_files_elsewhere_may_not(tmp_path: Path, name: Any) -> None:
    error = only_error(check(picture(name), choices=files(tmp_path)), "1")
    assert error["type"] == "value_not_in_list" and error["extra_info"]["input_config"] is None
    assert error["details"].endswith("(list of length 26)")


def test_model_files_are_those_listed(tmp_path: Path) -> None:
    choices = files(tmp_path)
    raw = {"1": n("Load", name="../checkpoints/a.safetensors"), "3": n("Show", image=["1", 0])}
    error = only_error(check(raw, choices=choices), "1")
    assert error["extra_info"]["input_config"] == [["a.safetensors"], {}]


def test_some_outputs_may_run_while_others_do_not() -> None:
    raw = GOOD | {"4": n("Show"), "5": n("Source", seed=-1, size=1.0), "6": n("Show", image=["5", 0]), "7": n("Show", image=["5", 0])}
    checked = check(raw)
    assert checked.error is None and checked.targets == ("3",)
    assert {k: v["dependent_outputs"] for k, v in checked.node_errors.items()} == {"4": ["4"], "5": ["6", "7"]}


def test_partial_targets_leave_other_faults_alone() -> None:
    checked = check(GOOD | {"4": n("Show")}, targets=["3"])
    assert checked.targets == ("3",) and checked.node_errors == {}


def test_what_nothing_needs_is_not_checked() -> None:
    assert check(GOOD | {"9": n("Source", seed=-5, size="x")}).node_errors == {}


def test_custom_checks() -> None:
    assert check({"1": n("Picky", size=8)}).error is None  # the check took over the range of `size`
    error = only_error(check({"1": n("Picky", size=7)}), "1")
    assert error == {
        "type": "custom_validation_failed",
        "message": "Custom validation failed for node",
        "details": "size - must be even",
        "extra_info": {"input_name": "size"},
    }
    assert only_error(check({"1": n("Picky", size=2, other=9)}), "1")["type"] == "value_bigger_than_max"
    error = only_error(check({"1": n("Picky", size=13)}), "1")
    assert (error["type"], error["details"], error["extra_info"]["exception_type"]) == (
        "exception_during_validation",
        "unlucky",
        "RuntimeError",
    )
    assert error["extra_info"]["traceback"]


def test_custom_checks_of_types() -> None:
    raw = {"1": n("Add", a=1, b=1), "2": n("Typed", image=["1", 0])}
    assert check(raw).error is None  # INT into IMAGE, which the check allows
    raw = {"1": n("Source", seed=1, size=1.0), "3": n("Split", image=["1", 0], mode="a"), "2": n("Typed", image=["3", 1])}
    error = validate(Prompt.parse(raw), REGISTRY).node_errors["2"]["errors"][0]
    assert error["type"] == "custom_validation_failed"


def test_all_custom_checks_are_asked_at_once() -> None:
    calls: list[int] = []

    def ask(questions: Any) -> list[Any]:
        calls.append(len(questions))
        rows = [custom.Question.from_json(q.to_json()) for q in questions]
        return custom.answer(REGISTRY, rows)

    validate(Prompt.parse({str(i): n("Picky", size=2) for i in range(50)}), WIRED, ask=ask)
    assert calls == [50]


def test_loops_are_named() -> None:
    loop = {"1": n("Split", image=["3", 0], mode="a"), "2": n("Split", image=["1", 0], mode="a"), "3": n("Split", image=["2", 0], mode="a")}
    checked = check(loop | {"4": n("Show", image=["1", 0])})
    assert checked.error is not None and checked.node_errors == {}
    assert checked.error["type"] == "prompt_outputs_failed_validation"
    assert checked.error["extra_info"]["cycles"] == [["1", "3", "2"]]
    assert "1 ← 3 ← 2 ← 1" in checked.error["details"]
    alone = check({"1": n("Split", image=["1", 0], mode="a"), "4": n("Show", image=["1", 0])})
    assert (alone.error or {})["extra_info"]["cycles"] == [["1"]]


def test_a_loop_beside_good_outputs_is_an_error_of_its_node() -> None:
    checked = check(GOOD | {"8": n("Split", image=["8", 0], mode="a"), "9": n("Show", image=["8", 0])})
    assert checked.targets == ("3",)
    assert checked.node_errors["8"]["errors"][0]["type"] == "dependency_cycle" and checked.node_errors["8"]["dependent_outputs"] == ["9"]


def chain(length: int) -> dict[str, Any]:
    raw = {"0": n("Add", a=0, b=1)} | {str(i): n("Add", a=[str(i - 1), 0], b=1) for i in range(1, length)}
    return raw | {"out": n("ShowNumber", a=[str(length - 1), 0])}


def test_ten_thousand_nodes_in_a_row_and_a_loop_of_them() -> None:
    raw = chain(10_000)
    assert check(raw).targets == ("out",)
    raw["0"] = n("Add", a=["9999", 0], b=1)
    checked = check(raw)
    assert len((checked.error or {})["extra_info"]["cycles"][0]) == 10_000


def test_stacked_diamonds_cost_what_they_weigh() -> None:
    raw: dict[str, Any] = {"0": n("Source", seed=1, size=1.0)}
    for i in range(300):
        raw[f"{i + 1}"] = n("Join", a=[str(i), 0], b=[str(i), 0])
    raw["out"] = n("Show", image=["300", 0])
    began = time.process_time()
    assert check(raw).error is None
    assert time.process_time() - began < 1


def test_long_texts_are_fine_and_long_values_are_shortened_in_messages() -> None:
    raw = GOOD | {"2": n("Split", image=["1", 0], mode="a", note="x" * 100_000)}
    assert check(raw).error is None
    error = only_error(check(GOOD | {"2": n("Split", image=["1", 0], mode="y" * 100_000)}), "2")
    assert len(error["details"]) < 400


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    """Any wiring of joins, loops and dangling links included."""
    count = draw(st.integers(1, 8))
    ids = [str(i) for i in range(count)]
    target = st.sampled_from([*ids, "gone"])
    raw: dict[str, Any] = {}
    for id in ids:
        kind = draw(st.sampled_from(["Source", "Join", "Show"]))
        if kind == "Source":
            raw[id] = n("Source", seed=draw(st.integers(-1, 1)), size=1.0)
        elif kind == "Join":
            raw[id] = n("Join", a=[draw(target), 0], b=[draw(target), 0])
        else:
            raw[id] = n("Show", image=[draw(target), 0])
    return raw


def is_good(raw: dict[str, Any], id: str, above: tuple[str, ...] = ()) -> bool:
    """The rule, said recursively: every ancestor exists, has outputs, is in range, and none is its own ancestor."""
    if id not in raw or id in above:
        return False
    node = raw[id]
    if above and node["class_type"] == "Show":
        return False
    if node["class_type"] == "Source":
        return bool(node["inputs"]["seed"] >= 0)
    return all(is_good(raw, link[0], (*above, id)) for link in node["inputs"].values())


@settings(max_examples=80, deadline=None)
@given(graphs())
def test_the_verdict_is_that_of_the_plain_rule(raw: dict[str, Any]) -> None:
    checked = check(raw)
    outputs = [i for i in raw if raw[i]["class_type"] == "Show"]
    assert list(checked.targets) == [o for o in outputs if is_good(raw, o)]
    assert (checked.error is None) == bool(checked.targets)
    named = {o for e in checked.node_errors.values() for o in e["dependent_outputs"]}
    assert named <= set(outputs) - set(checked.targets)


def amended(old: dict[str, Any], new: dict[str, Any], **more: Any) -> tuple[Checked, Checked, Checked]:
    """The verdict on `old`, that on `new` after it, and that on `new` alone."""
    first = Prompt.parse(old)
    before = validate(first, REGISTRY, **more)
    return before, validate(Prompt.parse(new, first), REGISTRY, before=before, **more), validate(Prompt.parse(new), REGISTRY, **more)


@settings(max_examples=80, deadline=None)
@given(graphs(), st.data())
def test_the_verdict_on_a_similar_document_is_that_on_it_alone(raw: dict[str, Any], data: st.DataObject) -> None:
    new = {id: {**node, "inputs": dict(node["inputs"])} for id, node in raw.items()}
    for id in data.draw(st.lists(st.sampled_from(list(raw)), max_size=3)):
        inputs = new[id]["inputs"]
        name = data.draw(st.sampled_from(list(inputs)))
        inputs[name] = data.draw(st.sampled_from([0, 1, 1.0, "1", True, -5, ["0", 0], ["gone", 0], "x"]))
    _, after, alone = amended(raw, new)
    assert (after.targets, after.node_errors, after.error) == (alone.targets, alone.node_errors, alone.error)
    assert dumps(after.prompt.to_json()) == dumps(alone.prompt.to_json())
    assert (after.basis is None) == (alone.basis is None)


def test_the_same_document_gets_the_same_verdict_object_unless_a_file_went(tmp_path: Path) -> None:
    raw = {"1": n("Source", seed="3", size=1.0), "2": n("Show", image=["1", 0])}
    before, after, _ = amended(raw, raw)
    assert after is before and after.prompt.nodes["1"].inputs["seed"] == 3
    folders = Folders.of(tmp_path)
    model = folders.models / "checkpoints" / "a.safetensors"
    model.parent.mkdir(parents=True)
    model.touch()
    raw = {"1": n("Load", name="a.safetensors"), "2": n("Show", image=["1", 0])}
    first = Prompt.parse(raw)
    choices = FolderChoices(folders)
    before = validate(first, REGISTRY, choices=choices)
    assert before.error is None and validate(Prompt.parse(raw, first), REGISTRY, choices=choices, before=before) is before
    model.unlink()
    assert validate(Prompt.parse(raw, first), REGISTRY, choices=choices, before=before).error is not None
