"""Flux.1: dev, schnell, Krea and Kontext, and the nets that fill in (Fill) or follow edges or depth (Canny, Depth).

Black Forest Labs 2024; Kontext: Labs et al. 2025, arXiv:2506.15742.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from backend.diffusion.latent import FLUX
from backend.diffusion.noise import Flow, flow_noise
from backend.families import Family
from backend.families.flux import texts
from backend.families.flux.conditions import forward, told, working_bytes
from backend.families.flux.names import from_diffusers, to_diffusers
from backend.families.flux.net import FluxNet, FluxSizes
from backend.families.flux.shown import followed, inpainting
from backend.weights.detect import Signature, count
from backend.weights.file import Header, Views, Widened

PATCH = 2
CHANNELS = 16
MARK = "double_blocks.0.img_attn.norm.key_norm.scale"
SHIFT_DISTILLED, SHIFT = 1.0, 1.15
"""mu of the time shift: schnell was distilled on even times, the others are shifted as for a megapixel."""


def sizes_of(header: Header, patch: int = PATCH) -> FluxSizes:
    """Sizes from shapes; a head is as wide as what its keys are normalised with."""
    width, cin = header["img_in.weight"].shape
    cout = header["final_layer.linear.weight"].shape[0]
    inner = patch * patch
    return FluxSizes(
        channels=cout // inner,
        shown=(cin - cout) // inner,
        patch=patch,
        width=width,
        heads=width // header[MARK].shape[0],
        hidden=header["double_blocks.0.img_mlp.2.weight"].shape[1],
        doubles=count(header, "double_blocks"),
        singles=count(header, "single_blocks"),
        context=header["txt_in.weight"].shape[1],
        pooled=header["vector_in.in_layer.weight"].shape[1] if "vector_in.in_layer.weight" in header else 0,
        guidance="guidance_in.in_layer.weight" in header,
    )


def noise(facts: Mapping[str, str]) -> Flow:
    """Rectified flow; the clock runs to 1."""
    return flow_noise(mu=SHIFT, multiplier=1.0)


def schnell_noise(facts: Mapping[str, str]) -> Flow:
    return flow_noise(shift=SHIFT_DISTILLED, multiplier=1.0)


def shows(share: float) -> Callable[[Header], bool]:
    """A net whose input has so many channels for each of its output."""

    def matches(header: Header) -> bool:
        if "img_in.weight" not in header or "final_layer.linear.weight" not in header:
            return False
        return header["img_in.weight"].shape[1] == share * header["final_layer.linear.weight"].shape[0]

    return matches


HAS = (MARK, "vector_in.in_layer.weight", "img_in.weight", "final_layer.linear.weight", "single_blocks.0.linear1.weight")
GUIDED = "guidance_in.in_layer.weight"

DEV = Family(
    name="Flux",
    signature=Signature(has=(*HAS, GUIDED), where=shows(1)),
    latent=FLUX,
    sizes=sizes_of,
    build=FluxNet,
    noise=noise,
    inputs=told("Flux", FLUX),
    forward=forward,
    working_bytes=working_bytes,
    from_diffusers=from_diffusers,
    to_diffusers=to_diffusers,
    text=texts.FLUX,
)
SCHNELL = replace(
    DEV,
    name="Flux Schnell",
    signature=Signature(has=HAS, lacks=(GUIDED,), where=shows(1)),
    noise=schnell_noise,
    inputs=told("Flux Schnell", FLUX),
)
FOLLOWING = replace(
    DEV, name="Flux Canny or Depth", signature=replace(DEV.signature, where=shows(2)), inputs=told("Flux Canny or Depth", FLUX, followed)
)
FILL = replace(DEV, name="Flux Fill", signature=replace(DEV.signature, where=shows(6)), inputs=told("Flux Fill", FLUX, inpainting))

IMG_IN = "img_in.weight"


def grown(model: Any, columns: Mapping[str, int]) -> Any:
    """A model that is shown more, for adapters that make one of dev: what it is shown has no weight yet."""
    source, sizes = model.loadable.source, model.sizes
    own = sizes.channels * sizes.patch**2
    found = next((family for family, share in ((FOLLOWING, 2), (FILL, 6)) if columns.get(IMG_IN) == share * own), None)
    if found is None or sizes.shown or not isinstance(source, Views):
        return None
    wide = replace(sizes, shown=columns[IMG_IN] // sizes.patch**2 - sizes.channels)
    wider = Widened(source.file, {IMG_IN: columns[IMG_IN]})
    loadable = replace(model.loadable, key=f"{model.loadable.key}#{columns[IMG_IN]}", build=partial(FluxNet, wide), source=Views(wider))
    return replace(model, loadable=loadable, family=found.with_latent(model.family.latent), sizes=wide)


DEV = replace(DEV, grow=grown)
FAMILIES = (DEV, SCHNELL, FOLLOWING, FILL)
