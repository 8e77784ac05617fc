"""Lazy inputs, expansions, loops, blockers, lists, wildcards, state, hidden values and validation."""

from comfy_execution.graph import ExecutionBlocker
from comfy_execution.graph_utils import GraphBuilder, is_link


class Any(str):
    def __ne__(self, other):
        return False


ANY = Any("*")


class Every(dict):
    """Claims to hold every name."""

    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        return (ANY, {"lazy": True})


class Switch:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"which": ("INT", {"default": 1, "min": 1, "max": 9})}, "optional": Every()}

    RETURN_TYPES = (ANY,)
    FUNCTION = "pick"

    def check_lazy_status(self, which, **inputs):
        return [] if inputs.get(f"in{which}") is not None else [f"in{which}"]

    def pick(self, which, **inputs):
        return (inputs[f"in{which}"],)


class Count:
    """Counts its runs on itself; never cached."""

    RUNS = 0

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0})}, "hidden": {"id": "UNIQUE_ID", "graph": "DYNPROMPT"}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "go"

    @classmethod
    def IS_CHANGED(cls, value, **kwargs):
        return float("nan")

    def go(self, value, id, graph):
        Count.RUNS += 1
        assert graph.get_node(id)["class_type"] == "ModelledCount"
        return (value,)


class Times:
    """Adds `value` to itself n times by expanding into a chain."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"value": ("INT", {"default": 1}), "n": ("INT", {"default": 3})},
            "hidden": {"graph": "DYNPROMPT", "id": "UNIQUE_ID"},
        }

    RETURN_TYPES = ("INT",)
    FUNCTION = "expand"

    def expand(self, value, n, graph, id):
        g = GraphBuilder()
        link = value
        for _ in range(n - 1):
            link = g.node("ModelledAdd", a=link, b=value).out(0)
        if not is_link(link):
            return (link,)
        return {"result": (link,), "expand": g.finalize()}


class Add:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT", {"default": 0}), "b": ("INT", {"default": 0})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "add"

    def add(self, a, b):
        return (a + b,)


class While:
    """A loop: expands into itself until the number is large enough."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 1}), "until": ("INT", {"default": 20})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "loop"

    def loop(self, value, until):
        if value >= until:
            return (value,)
        g = GraphBuilder()
        doubled = g.node("ModelledAdd", a=value, b=value)
        again = g.node("ModelledWhile", value=doubled.out(0), until=until)
        return {"result": (again.out(0),), "expand": g.finalize()}


class Gate:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,), "open": ("BOOLEAN", {"default": True})}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    def go(self, value, open):
        return (value if open else ExecutionBlocker(None),)


class Split:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"default": "1,2,3"})}}

    RETURN_TYPES = ("INT", "INT")
    OUTPUT_IS_LIST = (True, False)
    FUNCTION = "split"

    @classmethod
    def VALIDATE_INPUTS(cls, text):
        return True if all(p.strip().isdigit() for p in text.split(",")) else "only numbers and commas"

    def split(self, text):
        numbers = [int(p) for p in text.split(",")]
        return (numbers, len(numbers))


class Sum:
    INPUT_IS_LIST = True
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"numbers": ("INT", {"forceInput": True})}, "optional": {"label": ("STRING", {"default": "sum"})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "sum"

    def sum(self, numbers, label=("sum",)):
        return {"ui": {"text": [f"{label[0]} {sum(numbers)}"]}, "result": (sum(numbers),)}


NODE_CLASS_MAPPINGS = {f"Modelled{c.__name__}": c for c in (Switch, Count, Times, Add, While, Gate, Split, Sum)}
