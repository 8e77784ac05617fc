"""Pictures as control nets take them."""

from __future__ import annotations

from torch import Tensor

from backend.base.errors import BadInput
from backend.imaging.resize import resize


def check(hint: Tensor | None, channels: int, title: str) -> None:
    """Raises BadInput for a picture [B, C, H, W] of fewer channels than a net takes; one of a single channel sees any."""
    given = channels if hint is None else hint.shape[1]
    if given < channels:
        raise BadInput(
            f"The control picture has {given} channel{'s' if given > 1 else ''}, {title} takes {channels}.",
            hint="Give it a picture in colour.",
            input="image",
        )


def fitted(hint: Tensor, width: int, height: int, channels: int) -> Tensor:
    """The picture [B, C, H, W] centre-cropped and resized to the nearest pixel, with the number of channels a net takes.

    Transparency is dropped; a net of one channel sees the mean.
    """
    if channels == 1 and hint.shape[1] > 1:
        hint = hint[:, :3].mean(1, keepdim=True)
    return resize(hint[:, :channels].float(), width, height, "nearest-exact", "center")
