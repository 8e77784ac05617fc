"""The ecosystem's schema form of a node, as a NodeType like any other."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from backend.base.errors import BadFile
from backend.base.jsonable import plain
from backend.engine.context import Blocker, Context, Expand, Ui
from backend.graph.schema import Fn, Input, NodeType, Output
from backend.packs.dynamic_prompt import DynamicPrompt
from backend.packs.facade import dress, undress, undress_all
from backend.packs.v1 import parameters_of

_NAMES = {
    "unique_id": "UNIQUE_ID", "prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO", "dynprompt": "DYNPROMPT",
    "auth_token_comfy_org": "AUTH_TOKEN_COMFY_ORG", "api_key_comfy_org": "API_KEY_COMFY_ORG",
}  # fmt: skip


def is_schema_node(cls: Any) -> bool:
    """Whether a class is of this form."""
    return isinstance(cls, type) and callable(getattr(cls, "define_schema", None)) and callable(getattr(cls, "GET_SCHEMA", None))


def node_type(cls: Any, *, module: str) -> NodeType:
    """Read the schema. Raises BadFile for one that cannot be read, or whatever `define_schema` raises."""
    schema = cls.GET_SCHEMA()
    if not isinstance(schema.node_id, str) or not schema.node_id:
        raise BadFile(f"The schema of {cls.__name__} has no node_id.", hint="This is a fault of the node pack.")
    cls.RELATIVE_PYTHON_MODULE = module
    hidden = [h.name for h in schema.hidden]
    growing = [i for i in schema.inputs or () if hasattr(i, "gathered")]
    whole = bool(schema.is_input_list)
    validates, validates_types = parameters_of(_overridden(cls, "validate_inputs"))
    return NodeType(
        id=schema.node_id,
        title=schema.display_name,
        category=schema.category,
        description=schema.description or "",
        inputs=(*_inputs(schema), *(Input(name, _NAMES[name], None, False, hidden=_NAMES[name]) for name in hidden)),
        outputs=_outputs(schema),
        run=_run(cls, whole, len(schema.outputs or ()), growing),
        is_output=bool(schema.is_output_node),
        module=module,
        form="v3",
        many=True,
        input_is_list=whole,
        lazy_status=_lazy_status(cls) if _overridden(cls, "check_lazy_status") else None,
        fingerprint=_fingerprint(cls, whole) if _overridden(cls, "fingerprint_inputs") else None,
        validate=_validate(cls, whole) if _overridden(cls, "validate_inputs") else None,
        has_validate=_overridden(cls, "validate_inputs") is not None,
        validates=validates,
        validates_types=validates_types,
        not_idempotent=bool(schema.not_idempotent),
        deprecated=bool(schema.is_deprecated),
        experimental=bool(schema.is_experimental),
        api_node=bool(schema.is_api_node),
        any_input=True,
        any_constant=bool(getattr(schema, "accept_all_inputs", False)) or bool(growing),
        passes_hidden=True,
        is_async=inspect.iscoroutinefunction(cls.execute),
        instance_of=None,
        refresh=lambda: node_type(cls, module=module),
    )


def _overridden(cls: Any, name: str) -> Any:
    return getattr(cls, name, None)


def _inputs(schema: Any) -> Iterator[Input]:
    ordered = [i for i in schema.inputs or () if not i.optional] + [i for i in schema.inputs or () if i.optional]
    for i in ordered:
        options: Mapping[str, Any] = plain(i.as_dict())
        kind = i.get_io_type()
        needed = not i.optional and kind != "COMFY_AUTOGROW_V3"  # those are wired under names of their own
        yield Input(i.id, kind, options, needed, bool(options.get("lazy")), kind == "*", None, bool(options.get("rawLink")))


def _outputs(schema: Any) -> tuple[Output, ...]:
    made = []
    for o in schema.outputs or ():
        kind = o.get_io_type()
        made.append(Output(o.display_name or o.id or kind, kind, bool(o.is_output_list), o.tooltip, kind == "*"))
    return tuple(made)


def input_types(cls: Any) -> dict[str, Any]:
    """The inputs in the class form, for packs that ask a node class for them."""
    schema = cls.GET_SCHEMA()
    made: dict[str, Any] = {"required": {}, "optional": {}, "hidden": {h.name: (h.value,) for h in schema.hidden}}
    for i in schema.inputs or ():
        made["optional" if i.optional else "required"][i.id] = (i.get_io_type(), i.as_dict())
    return {group: entries for group, entries in made.items() if entries or group == "required"}


def _split(ctx: Context, values: Mapping[str, Any], whole: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments, and the run values of the call."""
    given: dict[str, Any] = {}
    hidden: dict[str, Any] = {}
    for name, value in values.items():
        if name in _NAMES:
            first = value[0] if whole and isinstance(value, list) and value else value
            hidden[name] = DynamicPrompt(ctx.graph) if name == "dynprompt" and ctx.graph is not None else first
        else:
            given[name] = [dress(v) for v in value] if whole and value.__class__ is list else dress(value)
    return given, hidden


def _gathered(given: dict[str, Any], growing: list[Any], whole: bool) -> dict[str, Any]:
    """`a.b` is part of the input a, when that is one that has parts."""
    for i in growing:
        inner = {name.partition(".")[2]: given.pop(name) for name in list(given) if name.startswith(f"{i.id}.")}
        if i.id in given or inner or not i.optional:
            own = given.get(i.id)
            given[i.id] = i.gathered(own[0] if whole and own else own, inner)
    return given


def _run(cls: Any, whole: bool, count: int, growing: list[Any]) -> Fn:
    def run(ctx: Context, /, **values: Any) -> Any:
        given, hidden = _split(ctx, values, whole)
        if growing:
            given = _gathered(given, growing, whole)
        result = cls.prepared(hidden).execute(**given)
        return _later(result, count) if inspect.isawaitable(result) else read(result, count)

    return run


async def _later(awaitable: Any, count: int) -> Any:
    return read(await awaitable, count)


def read(result: Any, count: int) -> Any:
    """What `execute` returns, in the engine's words."""
    if result is None:
        return ()
    if isinstance(result, Blocker):
        return undress(result)
    if isinstance(result, (tuple, list)):
        return undress_all(result)
    if isinstance(result, dict):
        return read_parts(tuple(result.get("result", ())), result.get("ui"), result.get("expand"), None, count)
    if not hasattr(result, "block_execution"):
        return (undress(result),)
    return read_parts(result.args, result.ui, result.expand, result.block_execution, count)


def read_parts(values: tuple[Any, ...], shown: Any, expand: Any, blocked: str | None, count: int) -> Any:
    """The parts of a NodeOutput."""
    if hasattr(shown, "as_dict"):
        shown = shown.as_dict()
    if blocked is not None:
        values = (Blocker(blocked),) * count
    outputs = undress_all(values)
    if expand is not None:
        return Expand(expand, outputs, shown)
    return Ui(shown, *outputs) if shown is not None else outputs


def _lazy_status(cls: Any) -> Fn:
    def status(ctx: Context, /, **values: Any) -> Any:
        given, hidden = _split(ctx, values, False)
        return cls.prepared(hidden).check_lazy_status(**given)

    return status


def _fingerprint(cls: Any, whole: bool) -> Fn:
    def fingerprint(ctx: Context, /, **values: Any) -> Any:
        given = {k: [v] for k, v in values.items()} if whole else values
        return cls.prepared({"unique_id": ctx.node}).fingerprint_inputs(**given)

    return fingerprint


def _validate(cls: Any, whole: bool) -> Fn:
    def validate(**values: Any) -> Any:
        if whole:
            values = {k: v if k == "input_types" else [v] for k, v in values.items()}
        return cls.prepared({}).validate_inputs(**values)

    return validate
