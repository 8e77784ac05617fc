"""Building expansions."""

from __future__ import annotations

from typing import Any

from backend.packs.host import HOST


def is_link(obj: Any) -> bool:
    return isinstance(obj, list) and len(obj) == 2 and isinstance(obj[0], str) and isinstance(obj[1], (int, float))


def _prefix() -> str:
    ctx = HOST.context()
    return f"{ctx.node}.{ctx.index or 0}"


class GraphBuilder:
    """`g.node(class_type, id=None, **inputs)`, `n.out(i)`, `g.finalize()`. Ids get a prefix that no other node has."""

    _default_prefix_root = ""
    _default_prefix_call_index = 0
    _default_prefix_graph_index = 0
    _owner: Any = None

    def __init__(self, prefix: str | None = None) -> None:
        self.prefix = GraphBuilder.alloc_prefix() if prefix is None else prefix
        self.nodes: dict[str, Node] = {}
        self.id_gen = 1

    @classmethod
    def set_default_prefix(cls, prefix_root: str, call_index: int, graph_index: int = 0) -> None:
        cls._default_prefix_root, cls._default_prefix_call_index, cls._default_prefix_graph_index = prefix_root, call_index, graph_index

    @classmethod
    def alloc_prefix(cls, root: str | None = None, call_index: int | None = None, graph_index: int | None = None) -> str:
        if root is not None:
            return f"{root}.{call_index or 0}.{graph_index or 0}."
        # the running call counts its own graphs: ids are the same in every run, and a second builder in one call gets others
        ctx = HOST.context()
        cls._default_prefix_graph_index = cls._default_prefix_graph_index + 1 if ctx is cls._owner else 0
        cls._owner = ctx
        return f"{_prefix()}.{cls._default_prefix_graph_index}."

    def node(self, class_type: str, id: str | None = None, **kwargs: Any) -> Node:
        if id is None:
            id = str(self.id_gen)
            self.id_gen += 1
        id = self.prefix + id
        if id not in self.nodes:
            self.nodes[id] = Node(id, class_type, kwargs)
        return self.nodes[id]

    def lookup_node(self, id: str) -> Node | None:
        return self.nodes.get(self.prefix + id)

    def finalize(self) -> dict[str, Any]:
        return {id: node.serialize() for id, node in self.nodes.items()}

    def replace_node_output(self, node_id: str, index: int, new_value: Any) -> None:
        node_id = self.prefix + node_id
        for node in self.nodes.values():
            for key, value in list(node.inputs.items()):
                if is_link(value) and value[0] == node_id and value[1] == index:
                    if new_value is None:
                        del node.inputs[key]
                    else:
                        node.inputs[key] = new_value

    def remove_node(self, id: str) -> None:
        self.nodes.pop(self.prefix + id, None)


class Node:
    def __init__(self, id: str, class_type: str, inputs: dict[str, Any]) -> None:
        self.id, self.class_type, self.inputs = id, class_type, inputs
        self.override_display_id: str | None = None

    def out(self, index: int) -> list[Any]:
        return [self.id, index]

    def set_input(self, key: str, value: Any) -> None:
        if value is None:
            self.inputs.pop(key, None)
        else:
            self.inputs[key] = value

    def get_input(self, key: str) -> Any:
        return self.inputs.get(key)

    def set_override_display_id(self, override_display_id: str) -> None:
        self.override_display_id = override_display_id

    def serialize(self) -> dict[str, Any]:
        made: dict[str, Any] = {"class_type": self.class_type, "inputs": self.inputs}
        if self.override_display_id is not None:
            made["override_display_id"] = self.override_display_id
        return made


def add_graph_prefix(graph: dict[str, Any], outputs: Any, prefix: str) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """A graph and its outputs with every id prefixed."""

    def moved(value: Any) -> Any:
        return [prefix + value[0], value[1]] if is_link(value) else value

    made = {}
    for id, body in graph.items():
        made[prefix + id] = {**body, "inputs": {k: moved(v) for k, v in body.get("inputs", {}).items()}}
    return made, tuple(moved(v) for v in outputs)


def __getattr__(name: str) -> Any:
    if name == "ExecutionBlocker":
        from comfy_execution.graph import ExecutionBlocker

        return ExecutionBlocker
    raise AttributeError(name)
