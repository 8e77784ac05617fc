"""Between pictures and latents, and what inpainting needs of both."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from torch import Tensor

from backend.base.errors import BadInput
from backend.codecs.asymmetric.spec import AsymmetricHandle
from backend.engine.context import Context
from backend.graph.declare import Bool, Int, Wired, node
from backend.imaging import inpaint
from nodes.conditioning import with_values
from nodes.types import Conditioning, Image, Latent, Mask, Vae

vae_node = partial(node, module="nodes")


class InpaintParts(NamedTuple):
    positive: Conditioning
    negative: Conditioning
    latent: Latent


def _frames(images: Tensor) -> Tensor:
    """A 5-D picture batch (video) as a plain batch."""
    return images.reshape(-1, *images.shape[-3:]) if images.ndim == 5 else images


@vae_node("VAEDecode", title="VAE Decode", category="latent", output_tooltips=("The picture.",))
def vae_decode(
    ctx: Context, *, samples: Latent = Wired(tooltip="The latent to decode."), vae: Vae = Wired(tooltip="The VAE that decodes it.")
) -> Image:
    """Turn a latent into a picture."""
    return _frames(vae.decode(samples["samples"], ctx.services.pool, check=ctx.check))


@node("VAEDecodeAround", title="VAE Decode (Around)", category="latent/inpaint", module="emulsion")
def vae_decode_around(ctx: Context, *, samples: Latent, vae: Vae, pixels: Image, mask: Mask) -> Image:
    """Turn an inpainted latent into a picture that keeps to `pixels` outside the mask. Needs an asymmetric VAE."""
    if not isinstance(vae, AsymmetricHandle):
        raise BadInput(
            "This VAE cannot be shown the picture around what it decodes.",
            hint="Load an asymmetric VAE, or decode with VAE Decode and lay the picture around with ImageCompositeMasked.",
            node=ctx.node, input="vae",
        )  # fmt: skip
    try:
        return vae.decode_around(samples["samples"], pixels, mask, ctx.services.pool)
    except BadInput as problem:
        raise problem.at(node=ctx.node, input="pixels") from None


@vae_node("VAEEncode", title="VAE Encode", category="latent")
def vae_encode(ctx: Context, *, pixels: Image, vae: Vae) -> Latent:
    """Turn a picture into a latent."""
    return {"samples": vae.encode(pixels, ctx.services.pool, check=ctx.check)}


@vae_node("VAEDecodeTiled", title="VAE Decode (Tiled)", category="_for_testing")
def vae_decode_tiled(
    ctx: Context,
    *,
    samples: Latent,
    vae: Vae,
    tile_size: int = Int(512, min=64, max=4096, step=32),
    overlap: int = Int(64, min=0, max=4096, step=32),
    temporal_size: int = Int(64, min=8, max=4096, step=4, tooltip="Only used for video VAEs: frames decoded at a time."),
    temporal_overlap: int = Int(8, min=4, max=4096, step=4, tooltip="Only used for video VAEs: frames shared by neighbouring pieces."),
) -> Image:
    """Decode in overlapping tiles, which needs less memory."""
    overlap = min(overlap, tile_size // 4)
    return _frames(vae.decode_tiled(samples["samples"], ctx.services.pool, tile_size, overlap, ctx.progress))


@vae_node("VAEEncodeTiled", title="VAE Encode (Tiled)", category="_for_testing")
def vae_encode_tiled(
    ctx: Context,
    *,
    pixels: Image,
    vae: Vae,
    tile_size: int = Int(512, min=64, max=4096, step=64),
    overlap: int = Int(64, min=0, max=4096, step=32),
    temporal_size: int = Int(64, min=8, max=4096, step=4, tooltip="Only used for video VAEs: frames encoded at a time."),
    temporal_overlap: int = Int(8, min=4, max=4096, step=4, tooltip="Only used for video VAEs: frames shared by neighbouring pieces."),
) -> Latent:
    """Encode in overlapping tiles, which needs less memory."""
    overlap = min(overlap, tile_size // 4)
    return {"samples": vae.encode_tiled(pixels, ctx.services.pool, tile_size, overlap, ctx.progress)}


@vae_node("VAEEncodeForInpaint", title="VAE Encode (for Inpainting)", category="latent/inpaint")
def vae_encode_for_inpaint(
    ctx: Context, *, pixels: Image, vae: Vae, mask: Mask, grow_mask_by: int = Int(6, min=0, max=64, step=1)
) -> Latent:
    """Encode a picture with the masked part greyed out, to be painted anew; the mask grows a little so that the seam disappears."""
    pixels, mask = inpaint.cropped(pixels, mask, vae.factor)
    samples = vae.encode(inpaint.greyed(pixels, mask), ctx.services.pool, check=ctx.check)
    return {"samples": samples, "noise_mask": inpaint.grown(mask, grow_mask_by)}


@vae_node("InpaintModelConditioning", category="conditioning/inpaint")
def inpaint_model_conditioning(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    pixels: Image,
    mask: Mask,
    noise_mask: bool = Bool(True, tooltip="Sample only where the mask is 1; without it the whole picture may change a little."),
) -> InpaintParts:
    """Show an inpainting model the picture without its masked part, and where that is."""
    pixels, mask = inpaint.cropped(pixels, mask, vae.factor)
    seen = vae.encode(inpaint.greyed(pixels, mask), ctx.services.pool, check=ctx.check)
    latent = {"samples": vae.encode(pixels, ctx.services.pool, check=ctx.check)}
    if noise_mask:
        latent["noise_mask"] = mask
    positive, negative = (with_values(c, concat_latent_image=seen, concat_mask=mask) for c in (positive, negative))
    return InpaintParts(positive, negative, latent)
