"""ControlNet-XS for Stable Diffusion 1, 2 and XL."""

from backend.control.xs.spec import XSKind

KINDS = (XSKind(),)
