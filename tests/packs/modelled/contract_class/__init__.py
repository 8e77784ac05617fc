"""Every feature of the class form."""

import asyncio
import os

from comfy_execution.graph import ExecutionBlocker
from comfy_execution.graph_utils import GraphBuilder

from .parts import ANY, Every, show

CHOICES = ["a", "b"]
CALLS = []


class Attributes:
    """All attributes, options of all kinds, and nothing that runs for long."""

    DESCRIPTION = "Has every attribute."
    CATEGORY = "contract/class"
    RETURN_TYPES = ("STRING", ["a", "b"], "INT")
    RETURN_NAMES = ("summary", "choice", "numbers")
    OUTPUT_TOOLTIPS = ("in words", "one of two", "many")
    OUTPUT_IS_LIST = (False, False, True)
    OUTPUT_NODE = True
    DEPRECATED = True
    EXPERIMENTAL = True
    API_NODE = True
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "whole": ("INT", {"default": 2, "min": 0, "max": 9, "step": 1, "display": "slider", "control_after_generate": True}),
                "real": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01, "round": False, "tooltip": "a share"}),
                "text": ("STRING", {"multiline": True, "dynamicPrompts": True, "placeholder": "words"}),
                "flag": ("BOOLEAN", {"label_on": "yes", "label_off": "no"}),
                "old": (["x", "y"],),
                "new": ("COMBO", {"options": ["p", "q"], "multi_select": {"placeholder": "any", "chip": True}}),
                "remote": ("COMBO", {"remote": {"route": "/modelled/list", "refresh": 5}, "default": "z"}),
                "picture": (["none"], {"image_upload": True, "image_folder": "input"}),
                "socket": ("FLOAT", {"forceInput": True, "an_option_nobody_knows": [1, {"k": None}]}),
            },
            "optional": {"image": ("IMAGE",), "advanced": ("INT", {"advanced": True, "hidden": True, "socketless": True})},
            "hidden": {
                "me": "UNIQUE_ID", "prompt": "PROMPT", "png": "EXTRA_PNGINFO", "graph": "DYNPROMPT", "token": "AUTH_TOKEN_COMFY_ORG",
                "key": "API_KEY_COMFY_ORG",
            },
        }  # fmt: skip

    def go(self, whole, real, text, flag, old, new, remote, picture, socket, me, prompt, png, graph, token, key, **optional):
        assert prompt[me]["class_type"] == "ContractAttributes" and graph.get_real_node_id(me) == me and not token and not key
        summary = f"{whole} {real} {text} {flag} {old} {new} {remote} {socket} {me} {png} {sorted(optional)}"
        return {"ui": {"text": [summary]}, "result": [summary, "b", [1, 2, 3]]}


class State:
    """Keeps a count on itself; has no inputs, no category and no names."""

    INPUT_TYPES = classmethod(lambda cls: {})
    RETURN_TYPES = ("INT",)
    FUNCTION = "count"

    def __init__(self):
        self.runs = 0

    @classmethod
    def IS_CHANGED(cls):
        return float("nan")

    def count(self):
        self.runs += 1
        return (self.runs,)


class Dynamic:
    """Choices that change, an input of any name, and an undeclared link."""

    RETURN_TYPES = ("STRING",)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"choice": (CHOICES,)}}

    def go(self, choice, **others):
        return (f"{choice} {others}",)


class Anything:
    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"optional": Every({"first": ("INT", {"default": 1})})}

    def go(self, **inputs):
        return (dict(sorted(inputs.items())),)


class Plain:
    """A plain star, a list of types, and a combo as a type."""

    RETURN_TYPES = ("*", "INT,FLOAT", ["a", "b"])
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"optional": {"star": ("*",), "either": ("INT, STRING",), "combo": (["a", "b"], {"forceInput": True}), "real": ("FLOAT",)}}

    def go(self, **inputs):
        return (1, 2, "a")


class Pair:
    """Two lists of different lengths walk together."""

    RETURN_TYPES = ("STRING",)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT", {}), "b": ("INT", {})}}

    def go(self, a, b):
        return (f"{a}{b}",)


class Numbers:
    RETURN_TYPES = ("INT", "INT")
    OUTPUT_IS_LIST = (True, False)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"n": ("INT", {"default": 3, "min": 0, "max": 9})}}

    def go(self, n):
        return (list(range(n)),)  # one result short: the second is None to whoever reads it


class Gather:
    """Everything arrives in lists, hidden values and constants too."""

    INPUT_IS_LIST = True
    OUTPUT_NODE = True
    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"values": (ANY,)}, "optional": {"label": ("STRING", {"default": ""})}, "hidden": {"me": "UNIQUE_ID"}}

    def go(self, values, me, label=("",)):
        assert isinstance(values, list) and isinstance(me, list) and len(me) == 1
        return show([*values, *filter(None, label)])


class Show:
    """An output node without a result; its text comes apart into letters."""

    OUTPUT_NODE = True
    RETURN_TYPES = ()
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,)}}

    def go(self, value):
        return {"ui": {"text": [str(value)], "letters": str(value)[:3]}}


class Quiet:
    """Returns an empty dict."""

    OUTPUT_NODE = True
    RETURN_TYPES = ()
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,)}}

    def go(self, value):
        CALLS.append(value)
        return {}


class Nothing(Quiet):
    """Forgets to return."""

    def go(self, value):
        return None


class Later:
    """Async; mapped calls run at once."""

    RETURN_TYPES = ("INT",)
    FUNCTION = "wait"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"n": ("INT", {"default": 1})}}

    async def wait(self, n):
        CALLS.append(f"begin {n}")
        await asyncio.sleep(0.02)
        CALLS.append(f"end {n}")
        return (n * 10,)


class Lazy:
    RETURN_TYPES = ("INT",)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"want": ("STRING", {"default": "a"})},
            "optional": {"a": ("INT", {"lazy": True}), "b": ("INT", {"lazy": True})},
        }

    def check_lazy_status(self, want, a=None, b=None):
        return [name for name, value in (("a", a), ("b", b)) if name in want and value is None]

    def go(self, want, a=None, b=None):
        return ((a or 0) + (b or 0),)


class Raw:
    """Looks at a link instead of its value."""

    RETURN_TYPES = ("STRING",)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"link": (ANY, {"rawLink": True})}}

    def go(self, link):
        return (str(link),)


class Changed:
    """Runs again when its word changes; a link is None to it."""

    WORD = "one"
    RETURN_TYPES = ("STRING",)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"n": ("INT", {"default": 1})}, "optional": {"linked": (ANY,)}, "hidden": {"prompt": "PROMPT"}}

    @classmethod
    def IS_CHANGED(cls, n, prompt, linked=0):
        assert linked is None and prompt == {}
        return cls.WORD

    def go(self, n, prompt, linked):
        CALLS.append(f"changed {n}")
        return (self.WORD,)


class Own(Changed):
    """Every one of them is different."""

    NOT_IDEMPOTENT = True

    @classmethod
    def IS_CHANGED(cls, **inputs):
        return "same"


class Checks:
    """Validates by itself: a range it overrides, a message, and the types of links."""

    RETURN_TYPES = ("INT",)
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"n": ("INT", {"max": 5}), "m": ("INT", {"max": 5})}, "optional": {"linked": ("IMAGE",)}}

    @classmethod
    def VALIDATE_INPUTS(cls, n, input_types):
        if input_types.get("linked") not in (None, "INT", "IMAGE"):
            return f"no {input_types['linked']}"
        return True if n != 13 else "thirteen brings bad luck"

    def go(self, n, m, linked=None):
        return (n,)


class ChecksAll(Checks):
    """Asked about everything, and slow about it."""

    @classmethod
    async def VALIDATE_INPUTS(cls, **inputs):
        await asyncio.sleep(0)
        return inputs["n"] != 1


class Expand:
    """Becomes other nodes, one of which shows under its id, and an output of which runs too."""

    RETURN_TYPES = ("INT", "INT")
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"n": ("INT", {"default": 1})}, "hidden": {"me": "UNIQUE_ID"}}

    def go(self, n, me):
        g = GraphBuilder()
        later = g.node("ContractLater", n=n)
        shown = g.node("ContractShow", id="shown", value=later.out(0))
        shown.set_override_display_id(me)
        assert g.lookup_node("shown") is shown
        return {"result": (later.out(0), n), "expand": g.finalize()}


class Block:
    RETURN_TYPES = ("INT", "INT")
    FUNCTION = "go"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"how": (["none", "one", "silent", "all"],)}}

    def go(self, how):
        if how == "all":
            return ExecutionBlocker("all of it")
        return (ExecutionBlocker("this one" if how == "one" else None) if how != "none" else 1, 2)


CLASSES = (Attributes, State, Dynamic, Anything, Plain, Pair, Numbers, Gather, Show, Quiet, Nothing, Later, Lazy, Raw, Changed, Own)
NODE_CLASS_MAPPINGS = {f"Contract{c.__name__}": c for c in (*CLASSES, Checks, ChecksAll, Expand, Block)}
NODE_DISPLAY_NAME_MAPPINGS = {"ContractAttributes": "All attributes"}
WEB_DIRECTORY = "./web"
assert os.environ["CONTRACT_PRESTARTED"] == "yes"
