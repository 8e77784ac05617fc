"""Registers samplers and a scheduler of its own, samples by itself, and brings a guider."""

import comfy.k_diffusion.sampling as k
import comfy.sample
import comfy.samplers
import latent_preview
import torch
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise

from nodes import common_ksampler


@torch.no_grad()
def sample_modelled(model, x, sigmas, extra_args=None, callback=None, disable=None, s_noise=1.0):
    """Euler, written as packs write samplers."""
    extra_args = {} if extra_args is None else extra_args
    ones = x.new_ones([x.shape[0]])
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * ones, **extra_args)
        d = k.to_d(x, sigmas[i] * ones, denoised)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        x = x + d * (sigmas[i + 1] - sigmas[i])
    assert model.inner_model.inner_model.model_sampling.sigma_max > 14
    return x


def halves(model_sampling, steps):
    top = float(model_sampling.sigma_max)
    return torch.tensor([top / 2**i for i in range(steps)] + [0.0])


k.sample_modelled = sample_modelled
comfy.samplers.KSampler.SAMPLERS.append("modelled")
comfy.samplers.SCHEDULER_HANDLERS["halves"] = comfy.samplers.SchedulerHandler(halves, True)
comfy.samplers.SCHEDULER_NAMES.append("halves")


class ByHand:
    """Samples with comfy.sample, and reports each step."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL",), "positive": ("CONDITIONING",), "negative": ("CONDITIONING",), "latent_image": ("LATENT",),
                "sampler_name": (comfy.samplers.KSampler.SAMPLERS,), "scheduler": (comfy.samplers.KSampler.SCHEDULERS,),
                "way": (["sample", "common", "custom", "guider"],),
            }
        }  # fmt: skip

    RETURN_TYPES = ("LATENT",)
    FUNCTION = "go"
    CATEGORY = "modelled/sampling"

    def go(self, model, positive, negative, latent_image, sampler_name, scheduler, way):
        latent = comfy.sample.fix_empty_latent_channels(model, latent_image["samples"])
        noise = comfy.sample.prepare_noise(latent, 1)
        callback = latent_preview.prepare_callback(model, 3)
        if way == "common":
            return common_ksampler(model, 1, 3, 2.0, sampler_name, scheduler, positive, negative, latent_image)
        if way == "sample":
            out = comfy.sample.sample(model, noise, 3, 2.0, sampler_name, scheduler, positive, negative, latent, callback=callback, seed=1)
        else:
            sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, 3)
            sampler = comfy.samplers.sampler_object(sampler_name)
            if way == "custom":
                out = comfy.sample.sample_custom(model, noise, 2.0, sampler, sigmas, positive, negative, latent, callback=callback, seed=1)
            else:
                guider = Halfway(model)
                guider.set_conds(positive, negative)
                guider.set_cfg(2.0)
                noise = Noise_RandomNoise(1).generate_noise({"samples": latent})
                out = guider.sample(noise, latent, sampler, sigmas, callback=callback, seed=1)
        return ({**latent_image, "samples": out},)


class Halfway(comfy.samplers.CFGGuider):
    """Plain guidance, asked one role after the other."""

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        cond, uncond = self.conds["positive"], self.conds["negative"]
        (p,) = comfy.samplers.calc_cond_batch(self.inner_model, [cond], x, timestep, model_options)
        (n,) = comfy.samplers.calc_cond_batch(self.inner_model, [uncond], x, timestep, model_options)
        return n + (p - n) * self.cfg


class MakeGuider:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "positive": ("CONDITIONING",), "negative": ("CONDITIONING",)}}

    RETURN_TYPES = ("GUIDER", "SAMPLER")
    FUNCTION = "go"
    CATEGORY = "modelled/sampling"

    def go(self, model, positive, negative):
        guider = Halfway(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(2.0)
        return (guider, comfy.samplers.KSAMPLER(sample_modelled))


NODE_CLASS_MAPPINGS = {"ModelledByHand": ByHand, "ModelledMakeGuider": MakeGuider}
