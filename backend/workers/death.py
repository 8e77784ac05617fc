"""Why a worker process ended, in words."""

from __future__ import annotations

import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Death:
    """`cause` is a sentence without the job; `kind` is crash, killed, exit, hang or cancel; `doing` is the job and node that ran."""

    kind: str
    cause: str
    hint: str = ""
    doing: tuple[str, str] | None = None
    starved: bool = False
    """Whether memory is the likely cause: the job is worth another try with less."""


DEVICE_LOST = 86
"""The status with which a worker ends because its device computes nothing any more."""

_FAULT = "A native library or a node pack is at fault; see the log."
_HINTS = {
    "SIGBUS": "Most likely a model file was cut short or overwritten while it was in use, or the disk it lies on failed: look at the file.",
}
_CRASHES = {
    "SIGSEGV": "it touched memory that is not its own",
    "SIGBUS": "it read a part of a file that is not there",
    "SIGILL": "it met an instruction this processor does not have",
    "SIGFPE": "a native library divided by zero",
    "SIGABRT": "a native library gave up",
}


def explain(returncode: int, killed_for: Death | None = None) -> Death:
    """The death of a child with this `returncode`; `killed_for` is our own reason when the front did it."""
    if killed_for is not None:
        return killed_for
    if returncode == DEVICE_LOST:
        return Death("exit", "The worker process ended because its device stopped working.", "A new one is started.")
    if returncode >= 0:
        if returncode == 0:
            return Death("exit", "The worker process ended by itself.", "A node or a pack probably called exit.")
        return Death(
            "exit", f"The worker process ended with exit code {returncode}.", "A node or a pack probably called exit; see the log."
        )
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        return Death("crash", f"The worker process was ended by signal {-returncode}.", "See the log.")
    if name == "SIGKILL":
        return Death(
            "killed",
            "The worker process was killed from outside (SIGKILL), most likely because the machine ran out of memory.",
            "Use smaller images, batches or models, or close other programs.",
            starved=True,
        )
    if name in _CRASHES:
        return Death("crash", f"The worker process crashed ({name}): {_CRASHES[name]}.", _HINTS.get(name, _FAULT))
    return Death(
        "killed", f"The worker process was ended by {name}.", "Something on this machine stopped it; the next job gets a new worker."
    )


def hang(silent_s: float) -> Death:
    """The front killed a worker that had stopped beating."""
    return Death(
        "hang",
        f"The worker process gave no sign of life for {silent_s:.0f} seconds and was stopped.",
        "A node or a native library holds the whole process; see the log for the last thing it did.",
    )


def not_cancelled(grace_s: float) -> Death:
    """The front killed a worker whose node did not stop after a cancel."""
    return Death("cancel", f"The node did not stop within {grace_s:.0f} seconds after the cancel, so its process was ended.")
