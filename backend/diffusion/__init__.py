"""The mathematics of diffusion: noise, schedules, samplers, guidance, conditioning, and the one loop that ties them.

Knows no model family: a family arrives as a value (`handle.FamilyLike`). May import nn, memory, weights and base.
"""
