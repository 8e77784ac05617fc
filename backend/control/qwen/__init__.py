"""ControlNets for Qwen Image."""

from backend.control.qwen.spec import QwenKind

KINDS = (QwenKind(),)
