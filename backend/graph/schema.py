"""What a node type is: sockets, widgets, outputs and a callable. Pure data."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

Fn = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Socket:
    """A wire type, e.g. IMAGE. `A,B` accepts either. A `wildcard` fits everything; a plain "*" fits only another "*"."""

    name: str
    wildcard: bool = False

    def accepts(self, other: Socket) -> bool:
        """Whether a link from an output of type `other` may enter here."""
        return fits(other.name, self.name, other.wildcard or self.wildcard)


@dataclass(frozen=True, slots=True)
class Files:
    """Choices that are the files of a folder kind ("checkpoints", "loras", ...), or of "input", "output", "temp"; listed when asked.

    `extra` are choices offered besides; `coders` are small autoencoders offered when both their files lie in vae_approx; `content` keeps
    only files of those media ("image", "video", "audio", "model"; ("folder",) lists folders instead); `first` puts `extra` before them.
    """

    kind: str
    extra: tuple[str, ...] = ()
    coders: tuple[str, ...] = ()
    content: tuple[str, ...] = ()
    first: bool = False


Kind = str | tuple[Any, ...] | Files


@dataclass(frozen=True, slots=True)
class Widget:
    """The default value of a parameter in a declaration: what can be typed in when nothing is wired in.

    `kind` None: the parameter's annotation says the type and the widget only carries options.
    """

    kind: Kind | None
    options: Mapping[str, Any] | None = None
    optional: bool = False
    default: Any = None
    has_default: bool = False
    is_prefix: bool = False


class Input(NamedTuple):
    """One input. `kind`: a wire type, a tuple of choices, or Files. `options` None means that the published form has no options object.

    `hidden`: the name of a run value (PROMPT, DYNPROMPT, EXTRA_PNGINFO, UNIQUE_ID ...) that is passed under this input's name.
    `is_prefix`: a text that names files to be written below the output directory.
    """

    name: str
    kind: Kind
    options: Mapping[str, Any] | None = None
    required: bool = True
    lazy: bool = False
    wildcard: bool = False
    hidden: str | None = None
    raw_link: bool = False
    is_prefix: bool = False


class Output(NamedTuple):
    """One output. `kind`: a wire type or a tuple of choices."""

    name: str
    kind: str | tuple[Any, ...]
    is_list: bool = False
    tooltip: str | None = None
    wildcard: bool = False


class Check:
    """The facts of an input that validation needs, worked out once. `cast`: the widget type whose conversion applies."""

    __slots__ = ("cast", "choices", "high", "input", "is_prefix", "kind", "low", "many", "name", "required", "wildcard")

    def __init__(self, i: Input) -> None:
        options = i.options or {}
        self.input = i
        self.name = i.name
        self.required = i.required
        self.kind = i.kind
        self.wildcard = i.wildcard
        self.is_prefix = i.is_prefix
        self.cast = i.kind if i.kind in ("INT", "FLOAT", "STRING", "BOOLEAN") else None
        self.low = options.get("min") if _is_number(options.get("min")) else None
        self.high = options.get("max") if _is_number(options.get("max")) else None
        listed = options.get("options")
        self.choices: tuple[Any, ...] | Files | None = None
        if not isinstance(i.kind, str):
            self.choices = i.kind
        elif isinstance(listed, Files):
            self.choices = listed
        self.many = bool(options.get("multi_select") or options.get("multiselect"))


@dataclass(frozen=True, slots=True)
class _AllBut:
    """Every name but some."""

    names: frozenset[str]

    def __contains__(self, name: object) -> bool:
        return name not in self.names


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class NodeType:
    """A kind of node.

    `run(ctx, **inputs)` returns the value of the only output, or a tuple of all (`many`), or Ui, Expand, Blocker, or an awaitable of these.
    `lazy_status(ctx, **inputs)` names the inputs still needed. `fingerprint(ctx, **constants)` gives a value that changes when the node
    must run again. `validate(**constants)` gives True or a sentence; `validates` are the inputs it looks at (None: all of them),
    `validates_types` says that it takes over the type check of links. `any_input` and `any_constant`: undeclared links and
    constants are passed too, and with `lazy_others` they are lazy. `any_output`: outputs beyond the declared ones may be linked, and
    are of any type. `instance_of`: the class whose instances (one per node id) carry
    state.
    """

    id: str
    title: str | None
    category: str
    description: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    run: Fn | None
    is_output: bool = False
    module: str = "nodes"
    form: str = "v1"
    many: bool = False
    input_is_list: bool = False
    lazy_status: Fn | None = None
    fingerprint: Fn | None = None
    validate: Fn | None = None
    has_validate: bool = False
    validates: tuple[str, ...] | None = ()
    validates_types: bool = False
    not_idempotent: bool = False
    deprecated: bool = False
    experimental: bool = False
    api_node: bool = False
    any_input: bool = False
    any_constant: bool = False
    lazy_others: bool = False
    any_output: bool = False
    passes_hidden: bool = False
    is_async: bool = False
    instance_of: type | None = None
    refresh: Callable[[], NodeType] | None = field(default=None, compare=False)

    @cached_property
    def by_name(self) -> Mapping[str, Input]:
        """The visible inputs by name."""
        return {i.name: i for i in self.inputs if i.hidden is None}

    @cached_property
    def hidden(self) -> Mapping[str, str]:
        """Hidden inputs: parameter name -> run value."""
        return {i.name: i.hidden for i in self.inputs if i.hidden is not None}

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Names of the required visible inputs, in order."""
        return tuple(i.name for i in self.inputs if i.required and i.hidden is None)

    @cached_property
    def lazy(self) -> Container[str]:
        """Names of the lazy inputs; with `lazy_others` every name that is not declared otherwise."""
        if self.lazy_others:
            return _AllBut(frozenset(i.name for i in self.inputs if not i.lazy))
        return frozenset(i.name for i in self.inputs if i.lazy)

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """What validation looks at, one for each visible input, in order."""
        return tuple(Check(i) for i in self.inputs if i.hidden is None)

    @cached_property
    def is_volatile(self) -> bool:
        """Whether a constant that was accepted once may be refused later: names of files, and what the type checks itself."""
        return self.has_validate or any(c.is_prefix or isinstance(c.choices, Files) for c in self.checks)

    @cached_property
    def files(self) -> tuple[tuple[str, str], ...]:
        """The inputs that name files, each with the folder kind they lie in."""
        return tuple((c.name, c.choices.kind) for c in self.checks if isinstance(c.choices, Files))

    @cached_property
    def is_personal(self) -> bool:
        """Whether the node id is part of what the result depends on."""
        return self.not_idempotent or any(h == "UNIQUE_ID" for h in self.hidden.values())

    @cached_property
    def has_list_output(self) -> bool:
        return any(o.is_list for o in self.outputs)


def fits(received: str | tuple[Any, ...], declared: Kind, wildcard: bool = False) -> bool:
    """Whether an output of type `received` may feed an input of type `declared`.

    Equal types fit; comma-separated lists fit when they share a member; choices fit only equal choices; a wildcard on either side fits all.
    """
    if wildcard or received == declared:
        return True
    if not isinstance(received, str) or not isinstance(declared, str):
        return False
    if "," not in received and "," not in declared:
        return received.strip() == declared.strip()
    return not {t.strip() for t in received.split(",")}.isdisjoint(t.strip() for t in declared.split(","))
