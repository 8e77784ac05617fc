"""ControlNet for the UNets of Stable Diffusion 1, 2 and XL."""

from backend.control.unet.spec import LowRankKind, UNetKind

KINDS = (UNetKind(), LowRankKind())
