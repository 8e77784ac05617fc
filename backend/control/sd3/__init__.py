"""ControlNets for Stable Diffusion 3 and 3.5."""

from backend.control.sd3.spec import SD3Kind

KINDS = (SD3Kind(),)
