"""Latents of film and sound that go through a graph as one.

Published files put a film's latent and its sound's together before sampling and take them apart after it. Here the film stays what
the LATENT wire carries, and the sound travels beside it under "audio": nodes that know nothing of sound work on the film alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from backend.engine.context import Blocker, Context
from backend.graph.declare import node
from nodes.types import Latent

av_node = partial(node, category="latent/video/ltxv", module="nodes")
AUDIO = "audio"


class Separated(NamedTuple):
    video_latent: Latent
    audio_latent: Latent


@av_node("LTXVConcatAVLatent", title="Join Video and Audio Latents", outputs=("latent",))
def concat_av_latent(ctx: Context, *, video_latent: Latent, audio_latent: Latent) -> Latent:
    """Put the latent of a film and that of its sound together."""
    return {**video_latent, AUDIO: audio_latent}


@av_node("LTXVSeparateAVLatent", title="Separate Video and Audio Latents")
def separate_av_latent(ctx: Context, *, av_latent: Latent) -> Separated:
    """Take a latent of film and sound apart. Where there is no sound, only what would use it does not run."""
    video = {key: value for key, value in av_latent.items() if key != AUDIO}
    none: Any = Blocker("The latent holds no sound. Join it with one by Join Video and Audio Latents before sampling.")
    return Separated(video, av_latent.get(AUDIO, none))
