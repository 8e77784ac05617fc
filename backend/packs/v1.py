"""The ecosystem's class form of a node, as a NodeType like any other: the engine sees no second kind."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from backend.base.errors import BadFile
from backend.base.jsonable import plain
from backend.engine.context import Context, Expand, Ui
from backend.graph.schema import Fn, Input, NodeType, Output
from backend.packs.dynamic_prompt import DynamicPrompt
from backend.packs.facade import dress, undress, undress_all

HIDDEN = ("PROMPT", "DYNPROMPT", "EXTRA_PNGINFO", "UNIQUE_ID", "AUTH_TOKEN_COMFY_ORG", "API_KEY_COMFY_ORG")
_PROBE = "\0 no such type"


def node_type(id: str, cls: type, *, title: str | None = None, module: str = "nodes") -> NodeType:
    """Read the class attributes. Raises BadFile naming what is wrong, or whatever INPUT_TYPES raises."""
    if not callable(getattr(cls, "INPUT_TYPES", None)):
        raise BadFile(f"The node class {id} has no INPUT_TYPES.", hint="This is a fault of the node pack.", node=id)
    function = getattr(cls, "FUNCTION", None)
    if not isinstance(function, str) or not callable(getattr(cls, function, None)):
        raise BadFile(f"The node class {id} names no callable FUNCTION.", hint="This is a fault of the node pack.", node=id)
    sections: Mapping[str, Any] = cls.INPUT_TYPES()  # type: ignore[attr-defined]
    whole = bool(getattr(cls, "INPUT_IS_LIST", False))
    validates, validates_types = parameters_of(getattr(cls, "VALIDATE_INPUTS", None))
    dynamic = [name for name, spec in _items(sections.get("hidden")) if spec == "DYNPROMPT"]
    return NodeType(
        id=id,
        title=title if title is not None else id,
        category=_text(getattr(cls, "CATEGORY", "sd")),
        description=_text(getattr(cls, "DESCRIPTION", "")),
        inputs=tuple(_inputs(sections)),
        outputs=_outputs(cls),
        run=_run(function, dynamic, whole),
        is_output=getattr(cls, "OUTPUT_NODE", False) is True,
        module=module,
        many=True,
        input_is_list=whole,
        lazy_status=_lazy_status if hasattr(cls, "check_lazy_status") else None,
        fingerprint=_fingerprint(cls, whole) if hasattr(cls, "IS_CHANGED") else None,
        validate=_validate(cls, whole) if hasattr(cls, "VALIDATE_INPUTS") else None,
        has_validate=hasattr(cls, "VALIDATE_INPUTS"),
        validates=validates,
        validates_types=validates_types,
        not_idempotent=bool(getattr(cls, "NOT_IDEMPOTENT", False)),
        deprecated=bool(getattr(cls, "DEPRECATED", False)),
        experimental=bool(getattr(cls, "EXPERIMENTAL", False)),
        api_node=bool(getattr(cls, "API_NODE", False)),
        any_input=True,
        any_constant=any(_holds_all(sections.get(g)) for g in ("required", "optional")),
        any_output=_goes_on(getattr(cls, "RETURN_TYPES", ())),
        lazy_others=any(_lazy_rest(sections.get(g)) for g in ("required", "optional")),
        passes_hidden=True,
        is_async=inspect.iscoroutinefunction(getattr(cls, function)),
        instance_of=cls,
        refresh=lambda: node_type(id, cls, title=title, module=module),
    )


def _text(value: Any) -> str:
    return str.__str__(value) if isinstance(value, str) else str(value)


def is_wildcard(kind: Any) -> bool:
    """Whether a type compares equal to everything: packs make such types by overriding `!=` in a str subclass."""
    return isinstance(kind, str) and type(kind) is not str and not (kind != _PROBE)  # noqa: SIM202 - `!=` itself is the question


def _items(section: Any) -> Iterator[tuple[str, Any]]:
    """What a section really holds. Some are dicts that claim to hold every name: iteration tells the truth."""
    for name in () if section is None else section:
        yield name, section[name]


def _holds_all(section: Any) -> bool:
    return section is not None and _PROBE in section


def _lazy_rest(section: Any) -> bool:
    """Whether a section that claims to hold every name says that those are lazy."""
    if not _holds_all(section):
        return False
    spec = section[_PROBE]
    return isinstance(spec, (tuple, list)) and len(spec) > 1 and isinstance(spec[1], Mapping) and bool(spec[1].get("lazy"))


def _inputs(sections: Mapping[str, Any]) -> Iterator[Input]:
    for group in ("required", "optional"):
        for name, spec in _items(sections.get(group)):
            yield _input(name, spec, group == "required")
    for name, spec in _items(sections.get("hidden")):
        word = spec[0] if isinstance(spec, (tuple, list)) and spec else spec
        if word in HIDDEN:
            yield Input(name, _text(word), None, False, hidden=_text(word))


def _input(name: Any, spec: Any, required: bool) -> Input:
    if not isinstance(name, str):
        raise BadFile(f"It names an input {name!r}, which is no text.", hint="This is a fault of the node pack.")
    parts = spec if isinstance(spec, (tuple, list)) else (spec,)
    kind = parts[0] if parts else "*"
    given = parts[1] if len(parts) > 1 else None
    options = plain(given) if given.__class__ is dict or isinstance(given, Mapping) else None
    is_lazy, is_raw = (bool(options.get("lazy")), bool(options.get("rawLink"))) if options else (False, False)
    if kind.__class__ is str:
        return Input(name, kind, options, required, is_lazy, False, None, is_raw)
    choices = tuple(plain(list(kind))) if isinstance(kind, (list, tuple)) else _text(kind)
    return Input(name, choices, options, required, is_lazy, is_wildcard(kind), None, is_raw)


def _outputs(cls: type) -> tuple[Output, ...]:
    kinds = getattr(cls, "RETURN_TYPES", ())
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    names, lists, tips = (getattr(cls, a, None) or () for a in ("RETURN_NAMES", "OUTPUT_IS_LIST", "OUTPUT_TOOLTIPS"))
    names = (names,) if isinstance(names, str) else names
    made = []
    for i, kind in enumerate(kinds):
        shown = tuple(plain(list(kind))) if isinstance(kind, (list, tuple)) else _text(kind)
        name = names[i] if i < len(names) else shown if isinstance(shown, str) else "COMBO"
        tip = tips[i] if i < len(tips) else None
        made.append(Output(_text(name), shown, i < len(lists) and bool(lists[i]), None if tip is None else _text(tip), is_wildcard(kind)))
    return tuple(made)


def _goes_on(kinds: Any) -> bool:
    """Whether there is a type at any place beyond the end: packs make such tuples by overriding `[]`."""
    if isinstance(kinds, str) or type(kinds) in (tuple, list):
        return False
    try:
        kinds[len(kinds) + 7]
    except (IndexError, TypeError, KeyError):
        return False
    return True


def _run(function: str, dynamic: list[str], whole: bool) -> Fn:
    def run(ctx: Context, /, **values: Any) -> Any:
        values = {name: _dressed(value, whole) for name, value in values.items()}
        for name in dynamic:
            prompt = DynamicPrompt(ctx.graph)
            values[name] = [prompt] if whole else prompt
        result = getattr(ctx.instance, function)(**values)
        return _later(result) if inspect.isawaitable(result) else read(result)

    return run


def _dressed(value: Any, whole: bool) -> Any:
    return [dress(v) for v in value] if whole and value.__class__ is list else dress(value)


async def _later(awaitable: Any) -> Any:
    return read(await awaitable)


def read(result: Any) -> Any:
    """What a class-form node returns, in the engine's words: tuples stay, dicts are shown values, expansions or both."""
    if not isinstance(result, dict):
        if result is None:
            raise TypeError("the node returned nothing: object of type 'NoneType' has no len()")
        if isinstance(result, (tuple, list)):
            return undress_all(result)
        return undress(result)
    outputs = result.get("result", ())
    if outputs.__class__ not in (tuple, list):
        outputs = (outputs,) if not isinstance(outputs, (tuple, list)) else tuple(outputs)
    if "expand" in result:
        return Expand(result["expand"], undress_all(outputs), result.get("ui"))
    return Ui(result.get("ui") or {}, *undress_all(outputs))


def _lazy_status(ctx: Context, /, **values: Any) -> Any:
    return ctx.instance.check_lazy_status(**{name: dress(value) for name, value in values.items()})


def _fingerprint(cls: type, whole: bool) -> Fn:
    def fingerprint(ctx: Context, /, **values: Any) -> Any:
        for name, word in hidden_names(cls):
            values[name] = ctx.node if word == "UNIQUE_ID" else {} if word == "PROMPT" else ctx.values.get(word.lower())
        given = {k: [v] for k, v in values.items()} if whole else values
        return cls.IS_CHANGED(**given)  # type: ignore[attr-defined]

    return fingerprint


def hidden_names(cls: type) -> list[tuple[str, str]]:
    """Parameter name and run value of the hidden inputs a class declares now."""
    sections = cls.INPUT_TYPES()  # type: ignore[attr-defined]
    return [(name, word) for name, word in _items(sections.get("hidden")) if word in HIDDEN]


def parameters_of(function: Any) -> tuple[tuple[str, ...] | None, bool]:
    """The inputs a validating function names (None: all of them), and whether it takes over the type check of links."""
    if function is None:
        return (), False
    parameters = inspect.signature(function).parameters.values()
    types = any(p.name == "input_types" for p in parameters)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None, types
    return tuple(p.name for p in parameters if p.kind is not p.VAR_POSITIONAL and p.name != "input_types"), types


def _validate(cls: type, whole: bool) -> Fn:
    def validate(**values: Any) -> Any:
        if whole:
            values = {k: v if k == "input_types" else [v] for k, v in values.items()}
        return cls.VALIDATE_INPUTS(**values)  # type: ignore[attr-defined]

    return validate
