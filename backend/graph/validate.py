"""Whether a prompt can run: linear in nodes and links, without recursion, without the code of the nodes.

Errors have the forms of the protocol, so that every client understands them; they come for each output, and one good output is enough.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backend.graph import complaint, custom
from backend.graph.choices import Choices
from backend.graph.complaint import Complaint
from backend.graph.document import BadLink, InvalidPrompt, Link, Node, Prompt, difference
from backend.graph.registry import Registry
from backend.graph.schema import Check, Files, NodeType, Output, fits

INT_LIMIT = 2**64


_ANY = Output("*", "*", wildcard=True)
_MOST_OUTPUTS = 1000


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdict: `targets` are the outputs that may run (none: `error` says why), `node_errors` the faults by node id, `prompt` the
    document with its constants converted."""

    targets: tuple[str, ...]
    node_errors: dict[str, dict[str, Any]]
    error: dict[str, Any] | None
    prompt: Prompt
    basis: Basis | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Basis:
    """What a clean verdict rests on, so that the next document, if it is nearly the same, need not be checked as a whole."""

    given: Prompt
    registry: Registry
    wanted: frozenset[str] | None
    casts: Mapping[str, dict[str, Any]]
    seen: Mapping[str, None]


def error_json(type: str, message: str, details: str = "", extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The error object of a refused prompt."""
    return {"type": type, "message": message, "details": details, "extra_info": dict(extra or {})}


def refused(problem: InvalidPrompt) -> dict[str, Any]:
    """The error object for a document that could not even be parsed."""
    return error_json(problem.type, problem.message, problem.details, {"hint": problem.hint} if problem.hint else None)


def validate(
    prompt: Prompt,
    registry: Registry,
    targets: Collection[str] | None = None,
    choices: Choices | None = None,
    ask: custom.Ask | None = None,
    before: Checked | None = None,
) -> Checked:
    """Check a prompt. `targets`: run only these outputs. `choices`: what file inputs offer (None: any text is a file name).

    `ask` answers the checks that node types do themselves (all in one call); the default asks the types in this process.
    `before`: an earlier verdict. Where only constants differ from its document (see `Prompt.parse`), only those nodes are checked, and
    those whose types look at something outside the document. The same verdict object comes back when nothing differs.
    """
    wanted = None if targets is None else frozenset(targets)
    if before is not None and before.basis is not None and before.basis.registry is registry and before.basis.wanted == wanted:
        changed = difference(before.basis.given.nodes, prompt.nodes)
        if changed is not None:
            amended = _Validation(prompt, registry, choices).amend(before, before.basis, changed, ask)
            if amended is not None:
                return amended
    for node in prompt.nodes.values():
        if registry.get(node.type) is None:
            message = f"Cannot execute because node {node.type[:200]} does not exist."
            extra = {"class_type": node.type, "hint": "Install the node pack that has it, or replace the node."}
            return Checked((), {}, error_json("invalid_prompt", message, f"Node ID '#{node.id}'", extra), prompt)
    roots = [n.id for n in prompt.nodes.values() if registry[n.type].is_output and (targets is None or n.id in targets)]
    if not roots:
        return Checked((), {}, error_json("prompt_no_outputs", "Prompt has no outputs"), prompt)
    return _Validation(prompt, registry, choices).run(roots, ask, wanted)


class _Validation:
    """The state of one validation."""

    def __init__(self, prompt: Prompt, registry: Registry, choices: Choices | None) -> None:
        self.nodes = prompt.nodes
        self.prompt = prompt
        self.registry = registry
        self.choices = choices
        self.faults: dict[str, list[Complaint]] = {}
        self.changed: dict[str, dict[str, Any]] = {}
        self.done: dict[str, None] = {}  # checked nodes, sources first
        self.path: dict[str, None] = {}  # nodes whose sources are being checked
        self.loop: dict[str, tuple[str, ...]] = {}  # node -> the cycle that ends in it
        self.roots: frozenset[str] = frozenset()
        self.consumers: dict[str, tuple[Node, str, Link]] | None = None  # node -> an input that reads it; made when a message needs it
        self.questions: list[custom.Question] = []

    def amend(self, before: Checked, basis: Basis, changed: list[str], ask: custom.Ask | None) -> Checked | None:
        """The verdict where only the constants of `changed` differ from a document without faults; None when there are faults now."""
        volatile = {id for id in {n.type for n in self.nodes.values()} if self.registry[id].is_volatile}
        look = dict.fromkeys(id for id in changed if id in basis.seen)
        if volatile:
            look.update((id, None) for id in basis.seen if self.nodes[id].type in volatile)
        for id in look:
            self._check(self.nodes[id])
        if not self.faults:
            self._ask(ask)
        if self.faults:
            return None
        if not changed and all(self.changed.get(id) == basis.casts.get(id) for id in look):
            return before
        casts = {id: values for id, values in basis.casts.items() if id not in look} | self.changed
        return Checked(before.targets, {}, None, self.prompt.with_inputs(casts), replace(basis, given=self.prompt, casts=casts))

    def run(self, roots: list[str], ask: custom.Ask | None, wanted: frozenset[str] | None) -> Checked:
        self.roots = frozenset(roots)
        for root in roots:
            self._visit(root)
        self._ask(ask)
        bad, masks = self._spread()
        good = tuple(r for r in roots if not masks[r])
        failed = [r for r in roots if masks[r]]
        errors = self._node_errors(bad, masks, failed, bool(good))
        error = None
        if not good:
            error = self._error(failed)
        prompt = self.prompt.with_inputs(self.changed)
        clean = error is None and not errors
        return Checked(good, errors, error, prompt, Basis(self.prompt, self.registry, wanted, self.changed, self.done) if clean else None)

    def _visit(self, root: str) -> None:
        """Every node that `root` depends on is checked once, after its own sources."""
        nodes, done, path = self.nodes, self.done, self.path
        stack = [root]
        while stack:
            id = stack[-1]
            if id in done:
                stack.pop()
                continue
            node = nodes[id]
            missing = [v.node for v in node.inputs.values() if v.__class__ is Link and v.node not in done and v.node in nodes]
            if missing:
                if id not in path:
                    path[id] = None
                    stack.extend(missing)
                    continue
                names = list(path)  # a node that is entered while it is still open depends on itself
                self.loop[id] = tuple(names[names.index(id) :])
            stack.pop()
            path.pop(id, None)
            done[id] = None
            self._check(node)

    def _links(self, id: str) -> list[Link]:
        return [v for v in self.nodes[id].inputs.values() if v.__class__ is Link]

    def _check(self, node: Node) -> None:
        """All inputs of one node."""
        t = self.registry[node.type]
        inputs = node.inputs
        named = t.validates if t.has_validate else ()
        types: dict[str, Any] = {}
        faults: list[Complaint] = []
        seen = 0
        for check in t.checks:
            name = check.name
            if name not in inputs:
                if check.required:
                    faults.append(complaint.required_missing(name))
                continue
            seen += 1
            value = inputs[name]
            kind = value.__class__
            if kind is Link:
                self._check_link(node, t, check, value, types, faults)
            elif kind is BadLink:
                faults.append(self._bad_link(node, check, value))
            else:
                self._check_constant(node, check, value, named is None or name in named, faults)
        if seen < len(inputs):
            self._check_undeclared(node, t, types, faults)
        if faults:
            self.faults[node.id] = faults
        elif t.has_validate:
            self.questions.append(custom.question(self._converted(node), t, types))

    def _converted(self, node: Node) -> Node:
        new = self.changed.get(node.id)
        return node if new is None else Node(node.id, node.type, {**node.inputs, **new}, node.raw)

    def _check_undeclared(self, node: Node, t: NodeType, types: dict[str, Any], faults: list[Complaint]) -> None:
        """Links into inputs the type does not declare are followed, so they must lead somewhere."""
        for name, value in node.inputs.items():
            if value.__class__ is Link and name not in t.by_name:
                source = self._source(node, name, value, faults)
                if source is not None:
                    types[name] = source.kind

    def _check_link(self, node: Node, t: NodeType, check: Check, link: Link, types: dict[str, Any], faults: list[Complaint]) -> None:
        source = self._source(node, check.name, link, faults)
        if source is None:
            return
        if t.has_validate:
            types[check.name] = source.kind
            if t.validates_types:
                return
        if source.kind != check.kind and not fits(source.kind, check.kind, check.wildcard or source.wildcard):
            faults.append(complaint.type_mismatch(check.input, source.kind, link, self.choices))

    def _source(self, node: Node, name: str, link: Link, faults: list[Complaint]) -> Output | None:
        """The output a link comes from, or None with a complaint."""
        origin = self.nodes.get(link.node)
        if origin is None:
            faults.append(self._broken(node, "KeyError", f"{name}: it is linked to node {link.node!r:.80}, which is not in the prompt"))
            return None
        t = self.registry[origin.type]
        outputs = t.outputs
        if t.any_output and len(outputs) <= link.slot < _MOST_OUTPUTS:
            return _ANY
        if not 0 <= link.slot < len(outputs):
            text = f"{name}: it is linked to output {link.slot} of node {link.node!r}, which has {len(outputs)} outputs"
            faults.append(self._broken(node, "IndexError", text))
            return None
        return outputs[link.slot]

    def _broken(self, node: Node, kind: str, message: str, traceback: Sequence[str] = ()) -> Complaint:
        """Worded after how the node is reached: for its own sake, or through an input below it."""
        if node.id in self.roots:
            return complaint.broken(kind, message, traceback)
        if self.consumers is None:
            self.consumers = {}
            for below in self.nodes.values():
                for name, value in below.inputs.items():
                    if value.__class__ is Link:
                        self.consumers.setdefault(value.node, (below, name, value))
        found = self.consumers.get(node.id)
        if found is None:
            return complaint.broken(kind, message, traceback)
        below, name, link = found
        return complaint.broken(kind, message, traceback, (self.registry[below.type].by_name.get(name, name), link))

    def _bad_link(self, node: Node, check: Check, value: BadLink) -> Complaint:
        if len(value.raw) != 2:
            return complaint.bad_link(check.input, value.raw, self.choices)
        text = f"{check.name}: a link is a node id (text) and an output index (whole number), not {value.raw!r:.100}"
        return self._broken(node, "TypeError", text)

    def _check_constant(self, node: Node, check: Check, value: Any, is_custom: bool, faults: list[Complaint]) -> None:
        if check.cast is not None:
            made, reason = convert(check.cast, value)
            if reason:
                faults.append(complaint.bad_type(check.input, value, reason, self.choices))
                return
            if made is not value:
                self.changed.setdefault(node.id, {})[check.name] = made
                value = made
        if check.is_prefix and self.choices is not None:
            if reason := self.choices.refusal(value):
                faults.append(complaint.bad_prefix(check.input, value, reason, self.choices))
        elif check.choices is not None:
            # A file that does not exist is refused even where the type has its own check: that check never sees a path that escapes.
            if not is_custom or isinstance(check.choices, Files):
                self._check_choice(check, value, is_custom, faults)
        elif not is_custom and _is_number(value):
            if check.low is not None and value < check.low:
                faults.append(complaint.out_of_range(check.input, value, check.low, True, self.choices))
            if check.high is not None and value > check.high:
                faults.append(complaint.out_of_range(check.input, value, check.high, False, self.choices))

    def _check_choice(self, check: Check, value: Any, is_custom: bool, faults: list[Complaint]) -> None:
        offered = check.choices
        if check.many and isinstance(value, list):
            for item in value:
                self._check_choice(check, item, is_custom, faults)
            return
        if isinstance(offered, Files):
            if not isinstance(value, str) or (self.choices is not None and not self.choices.accepts(offered, value)):
                names = self.choices(offered) if self.choices is not None else []
                faults.append(complaint.not_in_list(check.input, value, names, self.choices))
        elif offered is not None and value not in offered:
            faults.append(complaint.not_in_list(check.input, value, offered, self.choices))

    def _ask(self, ask: custom.Ask | None) -> None:
        """Put the collected questions to the node types."""
        if not self.questions:
            return
        answers = ask(self.questions) if ask is not None else custom.answer(self.registry, self.questions)
        for q, found in zip(self.questions, answers, strict=True):
            if found is True:
                continue
            node = self.nodes[q.node]
            if isinstance(found, Mapping):
                faults = [self._broken(node, found["exception_type"], found["message"], found["traceback"])]
            else:
                faults = [complaint.custom_failed(name, found) for name in q.values]
            self.faults.setdefault(q.node, []).extend(faults or [complaint.custom_failed("node", found)])

    def _spread(self) -> tuple[list[str], dict[str, int]]:
        """For every node the set (as bits) of faulty nodes it depends on; a loop counts as a fault of its last node."""
        bad = [id for id in self.done if id in self.faults or id in self.loop]
        bit = {id: 1 << i for i, id in enumerate(bad)}
        masks: dict[str, int] = {}
        if not bad:
            return bad, dict.fromkeys(self.done, 0)
        for id in self.done:
            mask = bit.get(id, 0)
            for link in self._links(id):
                mask |= masks.get(link.node, 0)
            masks[id] = mask
        return bad, masks

    def _node_errors(self, bad: list[str], masks: dict[str, int], failed: list[str], some_run: bool) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for i, id in enumerate(bad):
            errors = list(self.faults.get(id, ()))
            if id in self.loop and some_run:
                errors.append(
                    {"type": "dependency_cycle", "message": "Dependency cycle", "details": _loop_text(self.loop[id]), "extra_info": {}}
                )
            if errors:
                outputs = [r for r in failed if masks[r] >> i & 1]
                found[id] = {"errors": errors, "dependent_outputs": outputs, "class_type": self.nodes[id].type}
        return found

    def _error(self, failed: list[str]) -> dict[str, Any]:
        """Why nothing can run: the faults of the outputs themselves, and loops by name."""
        lines = [f"{c['message']}: {c['details']}" for r in failed for c in self.faults.get(r, ())]
        lines += [_loop_text(loop) for loop in self.loop.values()]
        extra = {"cycles": [list(loop) for loop in self.loop.values()]} if self.loop else {}
        return error_json("prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(lines), extra)


def _loop_text(loop: tuple[str, ...]) -> str:
    names = [*loop, loop[0]]
    if len(names) > 20:
        names = [*names[:10], "…", *names[-9:]]
    return f"The nodes {' ← '.join(names)} form a loop; remove one of these links."


def _is_number(value: Any) -> bool:
    return value.__class__ is int or value.__class__ is float or (isinstance(value, (int, float)) and not isinstance(value, bool))


def convert(kind: Any, value: Any) -> tuple[Any, str]:
    """A constant as its widget type, and "" or why it cannot be. Texts of numbers are numbers; true is not 1, and numbers are finite."""
    given = value.__class__
    if kind == "STRING":
        return (value if given is str else str(value)), ""
    if kind == "BOOLEAN":
        return (value if given is bool else bool(value)), ""
    if given is bool:
        return value, "true and false are no numbers"
    try:
        made: float = value if given is (int if kind == "INT" else float) else int(value) if kind == "INT" else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        return value, str(error)
    if kind == "INT":
        return (made, "") if -INT_LIMIT < made < INT_LIMIT else (value, "the number does not fit into 64 bits")
    return (made, "") if math.isfinite(made) else (value, "the number is not finite")
