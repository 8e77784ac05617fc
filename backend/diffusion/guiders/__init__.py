"""Guiders: from several predictions to one. A guider is a frozen value on a GUIDER wire; `sample` binds it to a net."""

from backend.diffusion.guiders.basic import BasicGuider
from backend.diffusion.guiders.cfg import CfgGuider
from backend.diffusion.guiders.dual import DualCfgGuider
from backend.diffusion.guiders.guidance import Ask, Guess, Guidance, Guider
from backend.diffusion.guiders.perp_neg import PerpNegGuider
from backend.diffusion.guiders.two_models import TwoModelGuider

__all__ = ["Ask", "BasicGuider", "CfgGuider", "DualCfgGuider", "Guess", "Guidance", "Guider", "PerpNegGuider", "TwoModelGuider"]
