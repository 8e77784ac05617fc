"""Classes of text encoders, to be tested for and named in annotations."""

from __future__ import annotations

from typing import Any

import torch


class ClipTokenWeightEncoder:
    pass


class SDClipModel(torch.nn.Module, ClipTokenWeightEncoder):
    LAYERS = ("last", "pooled", "hidden")


class SD1ClipModel(torch.nn.Module):
    pass


class SDTokenizer:
    pass


class SD1Tokenizer:
    pass


def gen_empty_tokens(special_tokens: Any, length: int) -> list[int]:
    """A prompt without words."""
    start, end, pad = special_tokens.get("start"), special_tokens.get("end"), special_tokens.get("pad")
    out = [t for t in (start, end) if t is not None]
    return out + [pad] * (length - len(out))


def parse_parentheses(string: str) -> list[str]:
    """The text cut at its outermost parentheses."""
    parts, current, depth = [], "", 0
    for char in string:
        if char == "(":
            if depth == 0 and current:
                parts.append(current)
                current = ""
            current += char
            depth += 1
        elif char == ")":
            depth -= 1
            current += char
            if depth == 0:
                parts.append(current)
                current = ""
        else:
            current += char
    return [*parts, current] if current else parts


def token_weights(string: str, current_weight: float) -> list[tuple[str, float]]:
    """[(text, weight)] of a prompt with (emphasis) and (emphasis:1.3)."""
    out = []
    for part in parse_parentheses(string):
        weight = current_weight
        if len(part) >= 2 and part[0] == "(" and part[-1] == ")":
            text = part[1:-1]
            weight *= 1.1
            at = text.rfind(":")
            if at > 0:
                try:
                    weight = float(text[at + 1 :])
                    text = text[:at]
                except ValueError:  # a colon that is part of the text
                    pass
            out += token_weights(text, weight)
        else:
            out.append((part, current_weight))
    return out


def escape_important(text: str) -> str:
    return text.replace("\\)", "\0\1").replace("\\(", "\0\2")


def unescape_important(text: str) -> str:
    return text.replace("\0\1", ")").replace("\0\2", "(")
