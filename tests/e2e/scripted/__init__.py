"""A node pack whose scripts use what the scripts of real packs use; test_pack_scripts.py looks at what becomes of it."""

from __future__ import annotations

from typing import Any


class ScriptedText:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "scripted", "run", ("STRING",), True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "text": ("STRING", {"default": "one"}),
                "count": ("INT", {"default": 2, "min": 0, "max": 100}),
                "way": (["first", "second"],),
                "secret": ("STRING", {"default": "hidden"}),
                "tint": ("SCRIPTED_TINT", {}),
            },
            "optional": {"chain": ("STRING", {"forceInput": True})},
            "hidden": {"prompt": "PROMPT", "id": "UNIQUE_ID"},
        }

    def run(self, text: str, count: int, way: str, secret: str, tint: Any, chain: str = "", prompt: Any = None, id: str = "") -> Any:
        sent = prompt[id]["inputs"]
        said = f"{text}/{count}/{way}/{secret}/{tint}/{chain}/{sent.get('mood')}"
        return {"ui": {"text": [said]}, "result": (said,)}


NODE_CLASS_MAPPINGS = {"ScriptedText": ScriptedText}
WEB_DIRECTORY = "./web"
