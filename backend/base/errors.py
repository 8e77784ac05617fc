"""Errors that are sentences for a person: what, where, why, what next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Where:
    """What an error is about; every part may be unknown."""

    node: str | None = None
    input: str | None = None
    file: str | None = None


class Problem(Exception):
    """Something a person can understand and act upon.

    `message` is one sentence saying what is wrong, `hint` what to do next ("" when there is nothing to say), `where` the node, input, file.
    """

    message: str
    hint: str
    where: Where

    def __init__(self, message: str, *, hint: str = "", node: str | None = None, input: str | None = None, file: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = Where(node, input, None if file is None else str(file))

    def at(self, *, node: str | None = None, input: str | None = None, file: Any = None) -> Self:
        """Fill in the parts of `where` that are still unknown and return self, to be raised again by a caller who knows more."""
        known = self.where
        self.where = replace(
            known,
            node=known.node if known.node is not None else node,
            input=known.input if known.input is not None else input,
            file=known.file if known.file is not None or file is None else str(file),
        )
        return self

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def to_json(self) -> dict[str, Any]:
        """The error as plain data: kind, message, hint and the known parts of where."""
        where = {k: v for k, v in (("node", self.where.node), ("input", self.where.input), ("file", self.where.file)) if v is not None}
        return {"kind": type(self).__name__, "message": self.message, "hint": self.hint, "where": where}


class BadInput(Problem):
    """A value that was sent or wired in cannot be used."""


class MissingFile(Problem):
    """A file that was named does not exist."""


class BadFile(Problem):
    """A file exists but its content is damaged or not what it claims to be."""


class UnknownModel(Problem):
    """A weight file is sound but no family recognises it."""


class NotInstalled(Problem):
    """Something optional is needed that this installation lacks."""


class OutOfMemory(Problem):
    """The device cannot hold what the node asked for, after everything that could be freed was freed."""


class Refused(Problem):
    """A request that this server does not serve, for safety."""


class Interrupted(Exception):
    """The person cancelled the run. Not a Problem: nothing is wrong."""
