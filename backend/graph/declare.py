"""`@node`: a typed function is a node. Its signature declares sockets, widgets and outputs; its docstring is the help text.

    Image = Annotated[Tensor, Socket("IMAGE")]

    @node("ImageTint", title="Tint", category="image", module="nodes")
    def tint(ctx: Context, *, image: Image, amount: float = Float(0.5, min=0, max=1, step=0.01), mask: Mask | None = None) -> Image:
        ...

A parameter is a socket (annotation with a `Socket`), a widget (default made by Int, Float, Text, SavePrefix, Bool, Choice, FileChoice,
Seed, Combo), or a socket with options (default `Wired(...)`). `= None` makes a socket optional, `optional=True` a widget. `**inputs` takes
whatever else is wired. Several outputs: a NamedTuple of wires. `list[Wire]` as a return type or field is a list output.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from backend.base.errors import BadInput
from backend.graph.schema import Files, Input, Kind, NodeType, Output, Socket, Widget

F = TypeVar("F", bound=Callable[..., Any])
_UNSET: Any = object()
_PLAIN = {int: "INT", float: "FLOAT", str: "STRING", bool: "BOOLEAN"}


def _options(named: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any] | None:
    found = {k: v for k, v in named.items() if v is not _UNSET} | dict(extra)
    return found or None


def Int(default: int = _UNSET, *, min: int = _UNSET, max: int = _UNSET, step: int = _UNSET, optional: bool = False, **extra: Any) -> Any:
    """A whole number."""
    return _widget("INT", default, _options({"default": default, "min": min, "max": max, "step": step}, extra), optional)


def Float(
    default: float = _UNSET,
    *,
    min: float = _UNSET,
    max: float = _UNSET,
    step: float = _UNSET,
    round: Any = _UNSET,
    optional: bool = False,
    **extra: Any,
) -> Any:
    """A real number."""
    named = {"default": default, "min": min, "max": max, "step": step, "round": round}
    return _widget("FLOAT", default, _options(named, extra), optional)


def Text(default: str = _UNSET, *, multiline: bool = _UNSET, optional: bool = False, **extra: Any) -> Any:
    """A text."""
    return _widget("STRING", default, _options({"default": default, "multiline": multiline}, extra), optional)


def SavePrefix(default: str, **extra: Any) -> Any:
    """How the names of saved files begin, with subfolders; one that leads out of the output directory is refused when a job is sent."""
    return Widget("STRING", _options({"default": default}, extra), False, default, True, is_prefix=True)


def Bool(default: bool = _UNSET, *, optional: bool = False, **extra: Any) -> Any:
    """Yes or no."""
    return _widget("BOOLEAN", default, _options({"default": default}, extra), optional)


def Seed(default: int = 0, *, min: int = 0, max: int = 2**64 - 1, optional: bool = False, **extra: Any) -> Any:
    """A seed: a whole number the editor changes after each run."""
    return Int(default, min=min, max=max, optional=optional, **{"control_after_generate": True, **extra})


def Choice(options: Sequence[Any] | Files, default: Any = _UNSET, *, optional: bool = False, **extra: Any) -> Any:
    """One of several values; a value that is not among them is refused."""
    kind: Kind = options if isinstance(options, Files) else tuple(options)
    return _widget(kind, default, _options({"default": default}, extra), optional)


def FileChoice(kind: str, *, extra_choices: Sequence[str] = (), optional: bool = False, **extra: Any) -> Any:
    """One of the files of a folder kind ("checkpoints", "loras" ...), or of "input", "output", "temp"."""
    return Choice(Files(kind, tuple(extra_choices)), optional=optional, **extra)


def Combo(
    options: Sequence[Any] | Files | None = None, default: Any = _UNSET, *, multiselect: Any = False, optional: bool = False, **extra: Any
) -> Any:
    """One of several values, in the newer published form; the value is only checked when it is a file. `multiselect=None`: left out."""
    named = {
        "default": default,
        "multiselect": _UNSET if multiselect is None else multiselect,
        "options": _UNSET if options is None else options if isinstance(options, Files) else list(options),
    }
    return _widget("COMBO", default, _options(named, extra), optional)


def Wired(*, optional: bool = False, **options: Any) -> Any:
    """A socket with options (tooltip, forceInput, lazy ...). Without options the published form still has an empty options object."""
    return Widget(None, options, optional, None, optional)


def _widget(kind: Kind, default: Any, options: Mapping[str, Any] | None, optional: bool) -> Widget:
    return Widget(kind, options, optional, None if default is _UNSET else default, default is not _UNSET)


def _strip_optional(annotation: Any) -> tuple[Any, bool]:
    """`X | None` -> (X, True)."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [a for a in get_args(annotation) if a is not type(None)]
        if len(rest) == 1 and len(rest) < len(get_args(annotation)):
            return rest[0], True
    return annotation, False


def socket_of(annotation: Any) -> Socket | None:
    """The wire type an annotation stands for: `Annotated[..., Socket(...)]`, or a plain int, float, str, bool."""
    found = next((m for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Socket)), None)
    if found is None and isinstance(annotation, type) and annotation in _PLAIN:
        return Socket(_PLAIN[annotation])
    return found


def _output(name: str, annotation: Any, where: str, tooltip: str | None) -> Output:
    is_list = get_origin(annotation) is list
    socket = socket_of(get_args(annotation)[0] if is_list else annotation)
    if socket is None:
        raise TypeError(f"{where} carries no socket type")
    return Output(name or socket.name, socket.name, is_list, tooltip, socket.wildcard)


def _outputs(id: str, annotation: Any, names: Sequence[str] | None, tips: Sequence[str | None] | None) -> tuple[tuple[Output, ...], bool]:
    """Outputs and whether the function returns a tuple of them."""
    if annotation in (None, type(None), _UNSET):
        return (), True
    if isinstance(annotation, type) and issubclass(annotation, tuple) and hasattr(annotation, "_fields"):
        hints = get_type_hints(annotation, include_extras=True)
        fields: tuple[str, ...] = annotation._fields
        if names is not None and len(names) != len(fields):
            raise TypeError(f"{id}: outputs={names!r} names {len(names)} outputs, {annotation.__name__} has {len(fields)}")
        shown = names or fields
        tooltips = tips or [None] * len(fields)
        made = tuple(_output(n, hints[f], f"{annotation.__name__}.{f}", t) for n, f, t in zip(shown, fields, tooltips))
        return made, True
    return (_output(names[0] if names else "", annotation, f"{id}: return type {annotation!r}", tips[0] if tips else None),), False


def _input(id: str, name: str, annotation: Any, default: Any, form: str) -> Input:
    annotation, _ = _strip_optional(annotation)
    if get_origin(annotation) is list:  # a node with input_is_list gets a list of what its wire carries
        annotation = get_args(annotation)[0]
    socket = socket_of(annotation)
    options: Mapping[str, Any] | None
    is_prefix = isinstance(default, Widget) and default.is_prefix
    if isinstance(default, Widget):
        kind, options, required = default.kind, default.options, not default.optional
        if kind is None:
            if socket is None:
                raise TypeError(f"{id}.{name}: Wired() needs an annotation with a socket type")
            kind = socket.name
        wildcard = socket is not None and socket.wildcard
    elif socket is not None and (default is inspect.Parameter.empty or default is None):
        kind, options, required, wildcard = socket.name, None, default is not None, socket.wildcard
        if annotation in _PLAIN:
            raise TypeError(f"{id}.{name}: give the parameter a widget as its default, e.g. Int(0)")
    else:
        raise TypeError(f"{id}.{name}: give it a socket type or a widget as its default")
    if form == "v3" and options is None:
        options = {}
    flags = options or {}
    return Input(name, kind, options, required, bool(flags.get("lazy")), wildcard, None, bool(flags.get("rawLink")), is_prefix)


def _read(fn: Callable[..., Any], id: str, form: str) -> tuple[tuple[Input, ...], bool, Any]:
    """Inputs, whether undeclared ones are taken too, and the return annotation. Leaves plain defaults on the function."""
    hints = get_type_hints(fn, include_extras=True)
    inputs: list[Input] = []
    defaults: dict[str, Any] = {}
    takes_any = False
    for p in inspect.signature(fn).parameters.values():
        if p.kind is p.VAR_KEYWORD:
            takes_any = True
        if p.kind is not p.KEYWORD_ONLY:  # `ctx` is the one positional parameter
            continue
        inputs.append(_input(id, p.name, hints.get(p.name), p.default, form))
        if not isinstance(p.default, Widget):
            if p.default is not p.empty:
                defaults[p.name] = p.default
        elif p.default.has_default:
            defaults[p.name] = p.default.default
        elif p.default.optional:
            defaults[p.name] = None
    fn.__kwdefaults__ = defaults  # so that an absent optional input, and a direct call, see values and not widgets
    return tuple(inputs), takes_any, hints.get("return", _UNSET)


def _parameters(fn: Callable[..., Any] | None) -> tuple[tuple[str, ...] | None, bool]:
    """What a validator looks at: its named parameters (None: all, it has **kwargs), and whether it takes over the link type check."""
    if fn is None:
        return (), False
    params = inspect.signature(fn).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in params):
        return None, any(p.name == "input_types" for p in params)
    names = tuple(p.name for p in params if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name not in ("ctx", "input_types"))
    return names, any(p.name == "input_types" for p in params)


def _checked(fn: Callable[..., Any], id: str, inputs: Sequence[Input]) -> Callable[..., Any]:
    """`fn` behind a look at its Combo inputs: validation leaves their values alone, so a wrong one would surface deep inside."""
    lists: dict[str, list[Any]] = {}
    for i in inputs:
        listed = (i.options or {}).get("options")
        if i.kind == "COMBO" and isinstance(listed, list) and not (i.options or {}).get("multiselect"):
            lists[i.name] = listed
    if not lists:
        return fn

    @functools.wraps(fn)
    def run(ctx: Any, **values: Any) -> Any:
        for name, listed in lists.items():
            if name in values and values[name] not in listed:
                choices = ", ".join(map(str, listed[:20]))
                raise BadInput(f"{id}: `{name}` is {values[name]!r:.80}.", hint=f"Choose one of {choices}.", node=ctx.node, input=name)
        return fn(ctx, **values)

    return run


def node(
    id: str,
    *,
    category: str,
    title: str | None = None,
    module: str = "nodes",
    form: str = "v1",
    output: bool = False,
    outputs: Sequence[str] | None = None,
    output_tooltips: Sequence[str | None] | None = None,
    hidden: Sequence[str] = (),
    description: str | None = None,
    input_is_list: bool = False,
    lazy_status: Callable[..., Any] | None = None,
    fingerprint: Callable[..., Any] | None = None,
    validate: Callable[..., Any] | None = None,
    not_idempotent: bool = False,
    deprecated: bool = False,
    experimental: bool = False,
) -> Callable[[F], F]:
    """Declare the decorated function as node type `id`; the NodeType is left on it as `.node_type`.

    `form` "v3" publishes the newer form of the type. `hidden` names run values ("PROMPT", "EXTRA_PNGINFO", "UNIQUE_ID") to publish as
    hidden inputs; the function itself reads them from `ctx`. `outputs` are the output names shown (default: the field names of a
    NamedTuple, or the type). `output` marks a node that is worth running for its own sake. Raises TypeError when the signature does not
    say enough.
    """

    def declare(fn: F) -> F:
        inputs, takes_any, returned = _read(fn, id, form)
        made, many = _outputs(id, returned, outputs, output_tooltips)
        validates, validates_types = _parameters(validate)
        fn.node_type = NodeType(  # type: ignore[attr-defined]
            id=id,
            title=title if title is not None or form == "v3" else id,
            category=category,
            description=description if description is not None else inspect.getdoc(fn) or "",
            inputs=inputs + tuple(Input(h.lower(), h, None, False, hidden=h) for h in hidden),
            outputs=made,
            run=fn if input_is_list else _checked(fn, id, inputs),
            is_output=output,
            module=module,
            form=form,
            many=many,
            input_is_list=input_is_list,
            lazy_status=lazy_status,
            fingerprint=fingerprint,
            validate=validate,
            has_validate=validate is not None,
            validates=validates,
            validates_types=validates_types,
            not_idempotent=not_idempotent,
            deprecated=deprecated,
            experimental=experimental,
            any_input=takes_any,
            any_constant=takes_any,
            is_async=inspect.iscoroutinefunction(fn),
        )
        return fn

    return declare


def declared(namespace: Mapping[str, Any]) -> list[NodeType]:
    """The node types of the functions in a module's namespace, in order of definition."""
    found = [getattr(v, "node_type", None) for v in namespace.values() if isinstance(v, types.FunctionType)]
    return list({id(t): t for t in found if isinstance(t, NodeType)}.values())
