"""One run of one document: ask the schedule, call the node, keep the result, say what happened."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from backend.base import events as ev
from backend.base.errors import BadInput, Interrupted
from backend.base.jsonable import plain
from backend.engine import lists
from backend.engine.cache import OutputCache, Result
from backend.engine.call import Call, guarded, inputs
from backend.engine.context import Blocker, Context
from backend.engine.expand import Pending, RunGraph
from backend.engine.finite import Checker, mended
from backend.engine.job import Instances, Job, Trace, now
from backend.engine.loop import Loop
from backend.engine.marks import mark
from backend.engine.oom import is_out_of_memory
from backend.engine.persist import Persistent
from backend.engine.schedule import Schedule
from backend.engine.signature import again, encode, personal_types, signatures, unique, why
from backend.graph.document import Link, Node
from backend.graph.registry import Registry
from backend.graph.schema import NodeType

_FARTHEST = 64  # nodes between a value that is known and who will read what is made of it
WAIT = 0.05  # seconds between looks at the cancel flag while only asynchronous nodes are under way


class Run:
    """The state of one run."""

    def __init__(
        self,
        job: Job,
        registry: Registry,
        cache: OutputCache,
        emit: ev.Emit,
        cancelled: Callable[[], bool],
        services: Any,
        instances: Instances,
        before: Trace,
        tighten: Callable[[], str] | None = None,
        checker: Checker | None = None,
        persistent: Persistent | None = None,
    ) -> None:
        self.tighten = tighten
        self.checker = checker
        self.persistent = persistent
        self.job = job
        self.registry = registry
        self.cache = cache
        self.emit = emit
        self.cancelled = cancelled
        self.services = services
        self.instances = instances
        self.before = before
        self.loop = Loop()
        self.current: str | None = None
        self.given: lists.Lists = {}  # the inputs of the current node, for an error report
        self.executed: dict[str, None] = {}
        self.cached = 0
        self.told: set[str] = set()  # nodes that said why they run again
        self.results: dict[str, Result] = {}
        self.pending: dict[str, Pending] = {}
        self.parked: dict[str, Call] = {}
        self.uses: dict[str, int] = {}  # results still to be read, per node; only counted when the cache frees
        self.graph = RunGraph(job.prompt)
        self.prints: dict[str, bytes] = {}
        self.digests: dict[str, bytes] = {}
        self.signed: dict[str, bytes] = {}  # the digests of the document's own nodes
        self.personal: frozenset[str] = frozenset()
        self.schedule = Schedule(self._sources, self._is_output, self._is_urgent, self._is_done)

    # -- before the first node

    def prepare(self) -> None:
        """Digests, what is cached, and what to run."""
        nodes = self.graph.nodes
        self._fingerprints()
        digests = self.digests = self.signed = self._sign()
        self.cache.begin(dict.fromkeys(digests.values()))
        if len(self.cache):
            get = self.cache.get
            for id in nodes:
                found = get(digests[id])
                if found is not None:
                    self.results[id] = found
        if self.persistent is not None:
            for id, found in self.persistent.take_up(self.job.targets, nodes, digests, self.registry, self.results).items():
                self.results[id] = found
                self.cache.put(digests[id], found)
        self.cached = len(self.results)
        self.emit(ev.NodesCached(tuple(self.results), now()))
        told = [target for target in self.job.targets if target in self.results]
        if told:
            self.emit(ev.NodesAgain(tuple(told), tuple([self.results[id].shown for id in told])))
            self.executed.update(dict.fromkeys(told))
        for target in self.job.targets:
            if target not in self.results:
                self._wanted(self.schedule.want(target))

    def _sign(self) -> dict[str, bytes]:
        """A digest for every node of the document; those of an earlier run stand where nothing they depend on has changed."""
        nodes, before = self.job.prompt.nodes, self.before
        self.personal = personal_types(nodes, self.registry)
        if before.personal == self.personal:
            made = again(nodes, self.personal, self.prints, before.nodes, before.prints, before.signed)
            if made is not None:
                return made
        return signatures(nodes, self.registry, self.prints)

    def _fingerprints(self) -> None:
        """Ask the types that have one for a fingerprint of what they read; the document given to nodes carries the answers. Of model files
        size and time of change are looked at."""
        written: dict[str, Any] = {}
        folders = getattr(self.services, "folders", None)
        for node in self.graph.nodes.values():
            value = node.raw.get("is_changed")
            if value is None:
                t = self.registry.get(node.type)
                if t is None or t.fingerprint is None:
                    if t is not None and t.files and folders is not None and (seen := mark(t, node.inputs, folders)) is not None:
                        self.prints[node.id] = seen
                    continue
                value = [self._fingerprint(node, t)]
                if encode(value) is not None:
                    written[node.id] = {**node.raw, "is_changed": plain(value)}
            self.prints[node.id] = encode(value) or unique()
        if written:
            self.graph.document = {**self.job.prompt.raw, **written}

    def _fingerprint(self, node: Node, t: NodeType) -> Any:
        assert t.fingerprint is not None
        values = {
            name: None if v.__class__ is Link else v
            for name, v in node.inputs.items()
            if name in t.by_name or t.any_constant or (t.any_input and v.__class__ is Link)
        }
        try:
            value = guarded(self._context(node, t), t.fingerprint, values)
            return self.loop.complete(value) if inspect.isawaitable(value) else value
        except Exception as error:  # noqa: BLE001 - foreign code; a fingerprint that fails means: always run
            self.emit(ev.NodeLog(node.id, f"its fingerprint failed, so it always runs: {type(error).__name__}: {error}"))
            return float("nan")

    # -- what the schedule asks

    def _type(self, id: str) -> NodeType:
        node = self.graph.nodes.get(id)
        if node is None:
            raise BadInput(f"A node is linked to node {id!r:.80}, which does not exist.")
        t = self.registry.get(node.type)
        if t is None:
            raise BadInput(f"Node {id} is of type {node.type!r:.80}, which does not exist.", hint="Install the pack that has it.", node=id)
        return t

    def _sources(self, id: str) -> list[str]:
        lazy = self._type(id).lazy
        wired = self.graph.nodes[id].inputs
        if lazy:
            return [v.node for k, v in wired.items() if v.__class__ is Link and k not in lazy]
        return [v.node for v in wired.values() if v.__class__ is Link]

    def _is_output(self, id: str) -> bool:
        return self._type(id).is_output

    def _is_urgent(self, id: str) -> bool:
        return self._type(id).is_async

    def _is_done(self, id: str) -> bool:
        if id in self.results:
            return True
        digest = self.digests.get(id)
        found = self.cache.get(digest) if digest is not None else None
        if found is None:
            return False
        self.results[id] = found
        return True

    def _wanted(self, added: Iterable[str]) -> None:
        """Count who will read whose result, so that it can go after the last reader (lazy readers count until they have run)."""
        if self.cache.frees:
            for id in added:
                for source in self._links(id):
                    self.uses[source] = self.uses.get(source, 0) + 1

    def _links(self, id: str) -> list[str]:
        return [v.node for v in self.graph.nodes[id].inputs.values() if v.__class__ is Link]

    # -- the loop

    def work(self) -> None:
        """Run until nothing is left. Raises what a node raises, Interrupted, and Cycle."""
        while True:
            id = self.schedule.next()
            if id is not None:
                self._step(id)
            if self.parked:
                self._collect(wait=id is None)
            elif id is None:
                return

    def _collect(self, wait: bool) -> None:
        """Let asynchronous nodes go on and finish those that are done. `wait`: there is nothing else to do."""
        self.loop.turn([c.task for c in self.parked.values() if c.task is not None], WAIT if wait else 0.0)
        for id, call in list(self.parked.items()):
            if call.task is not None and call.task.done():
                del self.parked[id]
                self.current, self.given = id, call.lists
                call.results = call.task.result()
                self._returned(call)
        if wait and self.cancelled():
            raise Interrupted

    def _step(self, id: str) -> None:
        self.current, self.given = id, {}
        if id in self.pending:
            self._resolve(id)
        elif self._is_done(id):  # perhaps by an equal node of this run
            self._again(id)
            self._finish(id)
        else:
            self._start(id)

    def _again(self, id: str) -> None:
        """A node whose result exists tells again what it showed."""
        self._show(id, self.results[id].shown, cached=True)
        self.emit(ev.NodeFinished(id))
        self.executed[id] = None

    def _start(self, id: str) -> None:
        node = self.graph.nodes[id]
        t = self.registry[node.type]
        if self.cancelled():
            raise Interrupted
        self._say_started(node)
        given, missing = inputs(node, t, self.results, self.graph, self.job.extra)
        self.given = given
        if t.lazy_status is not None:  # asked even when nothing is missing: packs keep books there
            needs = self._lazy_needs(node, t, given, missing)
            if needs:
                self._wanted(self.schedule.defer(id, needs))
                return
        call, waits = self._call(node, t, given)
        if waits:
            call.task = self.loop.start(call.results)
            if not call.task.done():
                self.parked[id] = call
                return
            call.results = call.task.result()
        self._returned(call)

    def _call(self, node: Node, t: NodeType, given: lists.Lists) -> tuple[Call, bool]:
        """Call a node; once more, with less kept in memory, when memory runs out. True: it is not done yet."""
        blocked = functools.partial(self._blocked, node)
        for last in (False, True):
            call = Call(node, t, given)
            try:
                if self.checker is None:
                    return call, call.start(lambda: self._context(node, t), blocked)
                self.checker.begin()
                waits = call.start(lambda: self._context(node, t), blocked)
                return (call, True) if waits else (self._checked(call, self.checker, given, blocked), False)
            except Exception as error:
                if last or self.tighten is None or not is_out_of_memory(error):
                    raise
                error.__traceback__ = None  # its frames hold the tensors that did not fit
            del call
            self.emit(ev.NodeLog(node.id, self.tighten()))
        raise AssertionError  # the second try returns or raises

    def _checked(self, call: Call, checker: Checker, given: lists.Lists, blocked: Callable[[Blocker], Blocker]) -> Call:
        """The call, or another one of the same node, whose results are numbers."""
        node, t = call.node, call.type
        made = {id(call.results): call}

        def again(values: Mapping[str, Any]) -> list[Any]:
            other = Call(node, t, dict(values))
            other.start(lambda: self._context(node, t), blocked)
            made[id(other.results)] = other
            return other.results

        results = mended(checker, again, given, call.results, lambda text: self.emit(ev.NodeLog(node.id, text)))
        return made[id(results)]

    def ahead(self) -> Iterator[Any]:
        """Values that the nodes still to run will read, the next first, as far as they are known."""
        for id in self.schedule.waiting():
            node = self.graph.nodes.get(id)
            for link in node.links().values() if node is not None else ():
                known = self._origin(link)
                if known is not None:
                    yield from self.results[known.node].outputs[known.slot]

    def _origin(self, link: Link) -> Link | None:
        """The known value that a value not there yet will be made of: the input of the same kind of the node that makes it, and so on."""
        for _ in range(_FARTHEST):
            result = self.results.get(link.node)
            if result is not None:
                return link if link.slot < len(result.outputs) else None
            node = self.graph.nodes.get(link.node)
            t = self.registry.get(node.type) if node is not None else None
            if node is None or t is None or link.slot >= len(t.outputs):
                return None
            kind = t.outputs[link.slot].kind
            before = next((v for k, v in node.links().items() if k in t.by_name and t.by_name[k].kind == kind), None)
            if before is None:
                return None
            link = before
        return None

    def _say_started(self, node: Node) -> None:
        id, before, g = node.id, self.before, self.graph
        old = before.nodes.get(id)
        if old is not None and id not in self.told:
            self.told.add(id)
            self.emit(ev.NodeWhy(id, why(node, old, self.digests, before.digests, self.prints.get(id), before.prints.get(id))))
        if g.parent(id) is None:
            self.emit(ev.NodeStarted(id))
        else:
            self.emit(ev.NodeStarted(id, g.display(id), g.parent(id), g.real(id)))

    def _show(self, id: str, shown: Any, cached: bool = False) -> None:
        g = self.graph
        if g.parent(id) is None:
            self.emit(ev.NodeShown(id, shown, cached))
        else:
            self.emit(ev.NodeShown(id, shown, cached, g.display(id), g.parent(id), g.real(id)))

    def _context(self, node: Node, t: NodeType) -> Context:
        return Context(
            self.job.id,
            node.id,
            emit=self.emit,
            cancelled=self.cancelled,
            services=self.services,
            display_node=self.graph.display(node.id),
            prompt=self.graph.document,
            extra=self.job.extra.get("extra_pnginfo"),
            values=self.job.extra,
            graph=self.graph,
            instance=self.instances.get(node.id, self.graph.real(node.id), t) if t.instance_of is not None else None,
        )

    def _lazy_needs(self, node: Node, t: NodeType, given: dict[str, Any], missing: list[str]) -> list[str]:
        """The nodes behind the lazy inputs that the node says it needs. Raises BadInput when it names an input that is not there."""
        assert t.lazy_status is not None
        names: dict[str, None] = {}
        ctx = self._context(node, t)
        for index, values in enumerate(lists.calls(given, t.input_is_list)):
            if lists.blocker(given, index, t.input_is_list) is not None:
                continue
            if t.input_is_list:
                values |= dict.fromkeys(missing, (None,))
            found = guarded(ctx, t.lazy_status, values)
            if inspect.isawaitable(found):
                found = self.loop.complete(found)
            names |= dict.fromkeys(found or ())
        for name in names:
            if name not in node.inputs:
                raise BadInput(f"Node {node.id} asks for its input `{name}`, which is not in the prompt.", node=node.id, input=name)
        return [node.inputs[name].node for name in names if name in missing]

    def _blocked(self, node: Node, block: Blocker) -> Blocker:
        """The first node that a blocker with a message reaches says so; those after it are blocked silently."""
        if block.message is None:
            return block
        self.emit(ev.NodeBlocked(node.id, node.type, f"Execution Blocked: {block.message}", tuple(self.executed), {}, ()))
        return Blocker(None)

    # -- after a node

    def _returned(self, call: Call) -> None:
        """All calls of a node are back: keep the result, or take up its expansion."""
        id, t = call.node.id, call.type
        parts, showing = call.finish()
        shown = None if showing is None else plain(showing)
        if shown is not None:
            self._show(id, shown)
        if any(p.expand is not None for p in parts):
            self._expand(call, parts, shown)
            return
        if len(parts) == 1 and not t.has_list_output:
            outputs = [[v] for v in parts[0].outputs]
        else:
            outputs = lists.gather([p.outputs for p in parts], t)
        self._done(id, Result(outputs, shown, call.seconds))

    def _done(self, id: str, result: Result) -> None:
        self.results[id] = result
        self.cache.put(self.digests[id], result)
        if self.persistent is not None and (why_not := self.persistent.put(id, self.graph.nodes, self.digests, self.registry, result)):
            self.emit(ev.NodeLog(id, why_not))
        self.emit(ev.NodeFinished(id, result.seconds))
        self._finish(id)

    def _finish(self, id: str) -> None:
        self.executed[id] = None
        self.schedule.finish(id)
        if self.cache.frees:
            for source in self._links(id):
                self._used(source)
            if self.uses.get(id, 0) <= 0:
                self.results.pop(id, None)

    def _used(self, source: str) -> None:
        left = self.uses[source] = self.uses.get(source, 0) - 1
        if left <= 0:
            self.results.pop(source, None)

    def _expand(self, call: Call, parts: list[lists.Returned], shown: Any) -> None:
        """Add the graphs a node turned into; the node waits until the outputs it named are there."""
        id = call.node.id
        added = [n for p in parts if p.expand is not None for n in self.graph.add(id, p.expand)]
        self.digests = signatures({n: self.graph.nodes[n] for n in added}, self.registry, self.prints, self.digests)
        pending = self.pending[id] = Pending(parts, shown, call.seconds)
        if self.cache.frees:
            for need in pending.needs:
                self.uses[need] = self.uses.get(need, 0) + 1
        self._wanted(self.schedule.expand(id, [n for n in added if self._is_output(n)], pending.needs))

    def _resolve(self, id: str) -> None:
        """The graph a node turned into is done: its results are the node's."""
        pending = self.pending.pop(id)
        outputs = pending.resolve(self.registry[self.graph.nodes[id].type], self.results)
        if self.cache.frees:
            for source in pending.needs:
                self._used(source)
        self._done(id, Result(outputs, pending.shown, pending.seconds))
