"""Switches of any type, in the manners packs have found: texts that equal everything, dicts that hold everything, tuples without an end."""

import json

from comfy_execution.graph import ExecutionBlocker


class Never(str):
    """Is never unlike anything."""

    def __ne__(self, other):
        return False


class Alike(str):  # noqa: PLW1641 - as packs have it
    """Equals everything, and has no hash any more."""

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False


class Endless(tuple):
    """Has a type at every place."""

    def __getitem__(self, index):
        item = super().__getitem__(min(index, len(self) - 1) if isinstance(index, int) else index)
        return Never(item) if isinstance(item, str) else item


class Flexible(dict):
    """Some names of its own, and every other one with one type."""

    def __init__(self, type, own=None):
        super().__init__(own or {})
        self.type = type

    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        return super().__getitem__(key) if key in self.keys() else (self.type, {"forceInput": True})


class FirstOf:
    """The first that is there."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": Flexible(Never("*"))}

    RETURN_TYPES = (Never("*"),)
    RETURN_NAMES = ("*",)
    FUNCTION = "switch"
    CATEGORY = "modelled/switches"

    def switch(self, **inputs):
        return (next((v for k, v in sorted(inputs.items()) if k.startswith("any_") and v is not None), None),)


class LazySwitch:
    """One of two, and only that one is made."""

    @classmethod
    def INPUT_TYPES(cls):
        lazy = {"lazy": True}
        return {"required": {"on": ("BOOLEAN", {"default": True})}, "optional": {"yes": (Alike("*"), lazy), "no": (Alike("*"), lazy)}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):
        return True if len(set(input_types.values()) - {"BOOLEAN"}) < 2 else "both sides must be of one type"

    RETURN_TYPES = (Alike("*"),)
    FUNCTION = "switch"
    CATEGORY = "modelled/switches"

    def check_lazy_status(self, on, yes=None, no=None):
        return ["yes"] if on else ["no"]

    def switch(self, on, yes=None, no=None):
        return (yes if on else no,)


class Sort:
    """One in, many out: all but one are blocked."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"select": ("INT", {"default": 1, "min": 1, "max": 999}), "input": (Never("*"),)},
            "hidden": {"prompt": "PROMPT", "me": "UNIQUE_ID"},
        }

    RETURN_TYPES = Endless(("*",))
    RETURN_NAMES = Endless(("output1",))
    FUNCTION = "sort"
    CATEGORY = "modelled/switches"

    def sort(self, select, input, prompt, me):
        most = max(
            [0, *(link[1] for other in prompt.values() for link in other["inputs"].values() if isinstance(link, list) and link[0] == me)]
        )
        return tuple(input if i + 1 == select else ExecutionBlocker(None) for i in range(max(most + 1, select)))


class Convert:
    """Any value as text, number or JSON; takes comma lists of types too."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT,FLOAT,STRING,BOOLEAN", {"forceInput": True}), "how": (["text", "number", "json"],)}}

    RETURN_TYPES = ("STRING,INT",)
    FUNCTION = "convert"
    CATEGORY = "modelled/switches"

    def convert(self, value, how):
        return ({"text": str, "number": float, "json": json.dumps}[how](value),)


class Pipe:
    """Takes a bundle apart again; outputs that are wildcards and one that is a combo."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": {"pipe": ("MODELLED_BUNDLE",), "a": (Never("*"),), "b": (Never("*"),)}}

    RETURN_TYPES = ("MODELLED_BUNDLE", Never("*"), Never("*"))
    FUNCTION = "go"
    CATEGORY = "modelled/switches"

    def go(self, pipe=None, a=None, b=None):
        bundle = {**(pipe or {}), **{k: v for k, v in (("a", a), ("b", b)) if v is not None}}
        return (bundle, bundle.get("a"), bundle.get("b"))


NODE_CLASS_MAPPINGS = {f"Switch {c.__name__} (modelled)": c for c in (FirstOf, LazySwitch, Sort, Convert, Pipe)}
