"""Latent formats: scale, shift and colours of latents."""

from __future__ import annotations

from typing import Any

from backend.diffusion import latent as ours


class LatentFormat:
    """`ours` is the format these numbers come from, where there is one."""

    ours: Any = None
    scale_factor = 1.0
    shift_factor = 0.0
    latent_channels = 4
    latent_dimensions = 2
    latent_rgb_factors: Any = None
    latent_rgb_factors_bias: Any = None
    latent_rgb_factors_reshape: Any = None
    taesd_decoder_name: Any = None
    spacial_downscale_ratio = 8

    def process_in(self, latent: Any) -> Any:
        return (latent - self.shift_factor) * self.scale_factor

    def process_out(self, latent: Any) -> Any:
        return latent / self.scale_factor + self.shift_factor


def of(fmt: Any) -> type[LatentFormat]:
    """The class for a format of ours."""
    space = {
        "ours": fmt,
        "scale_factor": fmt.scale,
        "shift_factor": fmt.shift,
        "latent_channels": fmt.channels,
        "latent_dimensions": fmt.dims,
        "latent_rgb_factors": [list(row) for row in fmt.rgb] or None,
        "latent_rgb_factors_bias": list(fmt.rgb_bias) if fmt.rgb else None,
        "taesd_decoder_name": fmt.tiny,
        "spacial_downscale_ratio": fmt.factor,
    }
    return type("LatentFormat", (LatentFormat,), space)


def _named(name: str, base: type[LatentFormat], **changes: Any) -> type[LatentFormat]:
    return type(name, (base,), changes)


SD15 = _named("SD15", of(ours.SD1))
SDXL = _named("SDXL", of(ours.SDXL))
SD3 = _named("SD3", of(ours.SD3))
Flux = _named("Flux", of(ours.FLUX))
SD_X4 = _named("SD_X4", LatentFormat, scale_factor=0.08333)
SDXL_Playground_2_5 = _named("SDXL_Playground_2_5", of(ours.PLAYGROUND))
SC_Prior = _named("SC_Prior", LatentFormat, latent_channels=16)
SC_B = _named("SC_B", LatentFormat, scale_factor=1.0 / 0.43)
_KNOWN = {ours.SD1: SD15, ours.SDXL: SDXL, ours.SD3: SD3, ours.PLAYGROUND: SDXL_Playground_2_5, ours.FLUX: Flux}


def dress(fmt: Any) -> LatentFormat:
    """A format of ours as one of these, with the class packs test for where they know one."""
    return _KNOWN.get(fmt, of(fmt))()
