"""What diffusers writes about a peft adapter into the metadata of its file: the α that other trainers keep as tensors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.weights.file import WeightFile, bad

KEY = "lora_adapter_metadata"


@dataclass(frozen=True)
class PeftConfig:
    """peft's settings by "part.setting", a part being unet, text_encoder, ..."""

    settings: Mapping[str, Any]

    @classmethod
    def of(cls, file: WeightFile) -> PeftConfig:
        """The settings of a file; empty where it has none. Raises BadFile for metadata that is not JSON."""
        text = file.metadata.get(KEY)
        if text is None:
            return cls({})
        try:
            settings = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise bad(file.path, f"its {KEY} is not JSON ({error})") from error
        return cls(settings if isinstance(settings, dict) else {})

    def scale(self, module: str, rank: int) -> float:
        """α/r of a module, or α/√r for rank-stabilised LoRA (arXiv:2312.03732); 1 where nothing is said."""
        part, _, name = module.partition(".")
        alpha = self.settings.get(f"{part}.lora_alpha")
        patterns = self.settings.get(f"{part}.alpha_pattern")
        for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
            if name == pattern.lstrip("^") or re.search(rf"(^|\.){re.escape(pattern)}$", name):
                alpha = value
        if not isinstance(alpha, int | float):
            return 1.0
        return alpha / (rank**0.5 if self.settings.get(f"{part}.use_rslora") is True else rank)
