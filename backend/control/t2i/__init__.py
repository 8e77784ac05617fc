"""T2I-Adapter for Stable Diffusion 1 and XL."""

from backend.control.t2i.spec import AdapterKind

KINDS = (AdapterKind(),)
