"""A device that is gone or wrecked: how to know it, and what to say.

After such an error nothing computes in this process any more; a fresh one is needed.
"""

from __future__ import annotations

import re

_LOST = re.compile(
    r"(CUDA|HIP|ROCm|XPU|MPS|SYCL|cuBLAS|cuDNN)\b.*?("
    r"device(s)? (is |are )?(lost|unavailable|not ready|removed)|DEVICE_LOST|no CUDA-capable device|invalid device ordinal"
    r"|illegal (memory access|address|instruction)|misaligned address|unspecified launch failure|launch (failed|timed out)"
    r"|device-side assert|uncorrectable|ECC|hardware (error|stack)|fallen off the bus|context is destroyed|driver shutting down"
    r"|unknown error|EXECUTION_FAILED|INTERNAL_ERROR)",
    re.IGNORECASE | re.DOTALL,
)
LOST_HINT = (
    "The worker is started anew and the next job runs. If it happens again, look at the device's temperature and power"
    " and at the system's log, and update its driver."
)


def is_device_lost(error: BaseException) -> bool:
    """Whether the device itself failed, and not what it was asked to do."""
    return isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None


def lost_sentence(error: BaseException) -> str:
    """What happened, for a person, with the first line of what the driver said."""
    said = str(error).strip().splitlines()[0].rstrip(".")
    return f"The device stopped working while this node ran ({said})."
