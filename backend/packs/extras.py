"""Functions and classes beside the nodes in the modules of core nodes, which packs import too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def custom_sampler() -> dict[str, Any]:
    """Noise makers and guiders as classes."""
    import importlib

    from nodes.custom_sampling import NoNoise, RandomNoise

    samplers = importlib.import_module("comfy.samplers")

    class Guider_Basic(samplers.CFGGuider):  # type: ignore[misc, name-defined]
        """One prompt, no guidance."""

        def set_conds(self, positive: Any) -> None:
            self.inner_set_conds({"positive": positive})

    class Noise_EmptyNoise(NoNoise):
        def __init__(self) -> None:
            super().__init__(0)

    return {"Guider_Basic": Guider_Basic, "Noise_RandomNoise": RandomNoise, "Noise_EmptyNoise": Noise_EmptyNoise}


def model_advanced() -> dict[str, Any]:
    import importlib

    sampling = importlib.import_module("comfy.model_sampling")

    class LCM(sampling.EPS):  # type: ignore[misc, name-defined]
        """Latent consistency boundary conditions around a net that predicts noise (Luo et al. 2023)."""

        def calculate_denoised(self, sigma: Any, model_output: Any, model_input: Any) -> Any:
            timestep = self.timestep(sigma).view(sigma.shape[:1] + (1,) * (model_output.ndim - 1))
            sigma = sampling.reshape_sigma(sigma, model_output.ndim)
            x0 = model_input - model_output * sigma
            scaled = timestep * 10.0
            skip, out = 0.25 / (scaled**2 + 0.25), scaled / (scaled**2 + 0.25) ** 0.5
            return out * x0 + skip * model_input

    class ModelSamplingDiscreteDistilled(sampling.ModelSamplingDiscrete):  # type: ignore[misc, name-defined]
        """Every 20th of the trained noise levels."""

        original_timesteps = 50

        def __init__(self, model_config: Any = None, zsnr: bool | None = None) -> None:
            super().__init__(model_config, zsnr=zsnr)
            self.skip_steps = self.num_timesteps // self.original_timesteps
            kept = [self.sigmas[self.num_timesteps - 1 - i * self.skip_steps] for i in range(self.original_timesteps)]
            import torch

            self.set_sigmas(torch.stack(kept[::-1]))

        def timestep(self, sigma: Any) -> Any:
            return super().timestep(sigma) * self.skip_steps + (self.skip_steps - 1)

        def sigma(self, timestep: Any) -> Any:
            return super().sigma((timestep.float() - (self.skip_steps - 1)) / self.skip_steps)

    return {
        "LCM": LCM,
        "ModelSamplingDiscreteDistilled": ModelSamplingDiscreteDistilled,
        "rescale_zero_terminal_snr_sigmas": sampling.rescale_zero_terminal_snr_sigmas,
    }


def perp_neg() -> dict[str, Any]:
    import importlib

    samplers = importlib.import_module("comfy.samplers")

    def combined(x: Any, noise_pred_pos: Any, noise_pred_neg: Any, noise_pred_nocond: Any, neg_scale: float, cond_scale: float) -> Any:
        """Guidance away from what of the negative prompt stands across the positive one (Armandpour et al. 2023)."""
        pos, neg = noise_pred_pos - noise_pred_nocond, noise_pred_neg - noise_pred_nocond
        across = neg - (neg * pos).sum() / (pos**2).sum() * pos
        return noise_pred_nocond + cond_scale * (pos - across * neg_scale)

    class Guider_PerpNeg(samplers.CFGGuider):  # type: ignore[misc, name-defined]
        """Three prompts."""

        def set_conds(self, positive: Any, negative: Any, empty_negative_prompt: Any) -> None:
            self.inner_set_conds({"positive": positive, "negative": negative, "empty_negative_prompt": empty_negative_prompt})

        def set_cfg(self, cfg: float, neg_scale: float) -> None:
            self.cfg, self.neg_scale = cfg, neg_scale

        def predict_noise(self, x: Any, timestep: Any, model_options: Any = None, seed: Any = None) -> Any:
            conds = [self.conds.get(role) for role in ("positive", "negative", "empty_negative_prompt")]
            pos, neg, empty = samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options or {})
            return combined(x, pos, neg, empty, self.neg_scale, self.cfg)

    return {"Guider_PerpNeg": Guider_PerpNeg, "perp_neg": combined}


def mask() -> dict[str, Any]:
    from backend.imaging.composite import composite

    def placed(destination: Any, source: Any, x: int, y: int, mask: Any = None, multiplier: int = 8, resize_source: bool = False) -> Any:
        """Planar `source` over `destination` [B, C, H, W]; x and y in pixels, of which a cell has `multiplier`."""
        return composite(destination, source, x, y, mask, multiplier, resize_source)

    return {"composite": placed}


def stable_3d() -> dict[str, Any]:
    from nodes.zero123 import camera

    def camera_embeddings(elevation: float, azimuth: float) -> Any:
        """Where the camera stands, [1, 1, 4]."""
        return camera(elevation, azimuth)

    return {"camera_embeddings": camera_embeddings}


OF: Mapping[str, Callable[[], dict[str, Any]]] = {
    "comfy_extras.nodes_custom_sampler": custom_sampler,
    "comfy_extras.nodes_model_advanced": model_advanced,
    "comfy_extras.nodes_mask": mask,
    "comfy_extras.nodes_perpneg": perp_neg,
    "comfy_extras.nodes_stable3d": stable_3d,
}
