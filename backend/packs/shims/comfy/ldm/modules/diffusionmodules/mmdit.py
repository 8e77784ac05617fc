"""Blocks of Stable Diffusion 3 under their published names, to be tested for, and what packs borrow beside them."""

from backend.families.sd3.net import Block as JointBlock
from comfy.ldm.modules.attention import optimized_attention
from comfy.rmsnorm import RMSNorm

__all__ = ["JointBlock", "RMSNorm", "optimized_attention"]
