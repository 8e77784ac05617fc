"""Text: joining, cutting, comparing, searching."""

from __future__ import annotations

import re
from functools import partial

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.graph.declare import Bool, Combo, Int, Text, node
from nodes.types import BoolOut, IntOut, TextOut

string_node = partial(node, category="utils/string", module="comfy_extras.nodes_string", form="v3")


@string_node("StringConcatenate", title="Concatenate")
def concatenate(
    ctx: Context, *, string_a: str = Text(multiline=True), string_b: str = Text(multiline=True), delimiter: str = Text("", multiline=False)
) -> TextOut:
    """Join two texts with a delimiter between them."""
    return delimiter.join((string_a, string_b))


@string_node("StringSubstring", title="Substring")
def substring(ctx: Context, *, string: str = Text(multiline=True), start: int = Int(), end: int = Int()) -> TextOut:
    """The characters from `start` up to, not including, `end`; negative positions count from the end."""
    return string[start:end]


@string_node("StringLength", title="Length", outputs=("length",))
def length(ctx: Context, *, string: str = Text(multiline=True)) -> IntOut:
    """Number of characters."""
    return len(string)


@string_node("CaseConverter", title="Case Converter")
def change_case(
    ctx: Context,
    *,
    string: str = Text(multiline=True),
    mode: str = Combo(["UPPERCASE", "lowercase", "Capitalize", "Title Case"]),
) -> TextOut:
    """Change upper and lower case."""
    return {"UPPERCASE": str.upper, "lowercase": str.lower, "Capitalize": str.capitalize, "Title Case": str.title}[mode](string)


@string_node("StringTrim", title="Trim")
def trim(ctx: Context, *, string: str = Text(multiline=True), mode: str = Combo(["Both", "Left", "Right"])) -> TextOut:
    """Remove white space at the ends."""
    return {"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}[mode](string)


@string_node("StringReplace", title="Replace")
def replace_text(
    ctx: Context,
    *,
    string: str = Text(multiline=True),
    find: str = Text(multiline=True),
    replace: str = Text(multiline=True),
) -> TextOut:
    """Replace every occurrence of a text."""
    return string.replace(find, replace)


@string_node("StringContains", title="Contains", outputs=("contains",))
def contains(
    ctx: Context, *, string: str = Text(multiline=True), substring: str = Text(multiline=True), case_sensitive: bool = Bool(True)
) -> BoolOut:
    """Whether one text occurs in another."""
    if not case_sensitive:
        string, substring = string.lower(), substring.lower()
    return substring in string


@string_node("StringCompare", title="Compare")
def compare(
    ctx: Context,
    *,
    string_a: str = Text(multiline=True),
    string_b: str = Text(multiline=True),
    mode: str = Combo(["Starts With", "Ends With", "Equal"]),
    case_sensitive: bool = Bool(True),
) -> BoolOut:
    """Whether the first text starts with, ends with or equals the second."""
    if not case_sensitive:
        string_a, string_b = string_a.lower(), string_b.lower()
    if mode == "Starts With":
        return string_a.startswith(string_b)
    return string_a.endswith(string_b) if mode == "Ends With" else string_a == string_b


def _compile(ctx: Context, pattern: str, case_insensitive: bool, multiline: bool, dotall: bool) -> re.Pattern[str]:
    flags = (re.IGNORECASE if case_insensitive else 0) | (re.MULTILINE if multiline else 0) | (re.DOTALL if dotall else 0)
    try:
        return re.compile(pattern, flags)
    except re.error as error:
        raise BadInput(
            f"The regular expression {pattern!r} cannot be read: {error}.",
            hint="Put a backslash before characters that are meant literally, such as ( ) [ ] * + ?.",
            node=ctx.node,
            input="regex_pattern",
        ) from error


@string_node("RegexMatch", title="Regex Match", outputs=("matches",))
def regex_match(
    ctx: Context,
    *,
    string: str = Text(multiline=True),
    regex_pattern: str = Text(multiline=True),
    case_insensitive: bool = Bool(True),
    multiline: bool = Bool(False),
    dotall: bool = Bool(False),
) -> BoolOut:
    """Whether the pattern is found anywhere in the text."""
    return _compile(ctx, regex_pattern, case_insensitive, multiline, dotall).search(string) is not None


@string_node("RegexExtract", title="Regex Extract")
def regex_extract(
    ctx: Context,
    *,
    string: str = Text(multiline=True),
    regex_pattern: str = Text(multiline=True),
    mode: str = Combo(["First Match", "All Matches", "First Group", "All Groups"]),
    case_insensitive: bool = Bool(True),
    multiline: bool = Bool(False),
    dotall: bool = Bool(False),
    group_index: int = Int(1, min=0, max=100),
) -> TextOut:
    """Cut out what a pattern finds, a line per find; empty where nothing is found or the group does not exist.

    "All Matches" of a pattern with groups gives the first group of each match.
    """
    pattern = _compile(ctx, regex_pattern, case_insensitive, multiline, dotall)
    found = list(pattern.finditer(string)) if mode.startswith("All") else [m for m in [pattern.search(string)] if m]
    if mode == "First Match":
        group = 0
    elif mode == "All Matches":
        group = min(pattern.groups, 1)
    elif group_index <= pattern.groups:
        group = group_index
    else:
        return ""
    return "\n".join(match.group(group) or "" for match in found)


@string_node("RegexReplace", title="Regex Replace")
def regex_replace(
    ctx: Context,
    *,
    string: str = Text(multiline=True),
    regex_pattern: str = Text(multiline=True),
    replace: str = Text(multiline=True),
    case_insensitive: bool = Bool(True, optional=True),
    multiline: bool = Bool(False, optional=True),
    dotall: bool = Bool(False, optional=True),
    count: int = Int(0, min=0, max=100, optional=True),
) -> TextOut:
    """Replace what a pattern finds; \\1 in the replacement is the first group. A count of 0 replaces all."""
    pattern = _compile(ctx, regex_pattern, case_insensitive, multiline, dotall)
    try:
        return pattern.sub(replace, string, count=count)
    except (re.error, IndexError) as error:
        raise BadInput(
            f"The replacement {replace!r} cannot be used: {error}.",
            hint="Refer only to groups that the pattern has: \\1 is the first one.",
            node=ctx.node,
            input="replace",
        ) from error
