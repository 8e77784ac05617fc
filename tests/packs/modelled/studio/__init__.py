"""Written as large packs are: core classes as a library, savers subclassed, controls, samplers and masks of its own, blocks built anew."""

import json
import os
from collections import namedtuple

import comfy.controlnet
import comfy.ldm.modules.attention as attention
import comfy.model_patcher
import comfy.ops
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.utils
import folder_paths
import torch
from comfy.k_diffusion import sampling as k_diffusion_sampling
from comfy_extras import nodes_custom_sampler, nodes_mask
from server import PromptServer

import nodes
from nodes import KSampler, LoraLoader, PreviewImage, SetLatentNoiseMask, VAEDecode, VAEEncode, VAEEncodeForInpaint

Seg = namedtuple("Seg", ["picture", "mask", "region"])
SEEN = []


class Anything(str):
    def __ne__(self, other):
        return False


class AnyOptional(dict):
    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        return (Anything("*"),)


class Studio:
    CATEGORY = "studio"
    FUNCTION = "go"


class Detail(Studio):
    """Cuts the middle out, makes it anew, pastes it back."""

    RETURN_TYPES = ("IMAGE", "SEGS")
    OUTPUT_IS_LIST = (False, True)

    @classmethod
    def INPUT_TYPES(cls):
        sampler = {"sampler_name": (comfy.samplers.KSampler.SAMPLERS,), "scheduler": (comfy.samplers.KSampler.SCHEDULERS,)}
        models = {"model": ("MODEL",), "vae": ("VAE",), "positive": ("CONDITIONING",), "negative": ("CONDITIONING",)}
        return {"required": {"image": ("IMAGE",), **models, **sampler}, "hidden": {"unique_id": "UNIQUE_ID"}}

    def go(self, image, model, vae, positive, negative, sampler_name, scheduler, unique_id):
        height, width = image.shape[1:3]
        middle = (slice(None), slice(height // 4, height * 3 // 4), slice(width // 4, width * 3 // 4))
        mask = torch.zeros(1, height, width)
        mask[middle] = 1
        (mask,) = nodes_mask.GrowMask().expand_mask(mask, 2, True)
        (large,) = nodes.ImageScale().upscale(image[middle], "lanczos", 64, 64, "center")
        latent = SetLatentNoiseMask().set_mask(VAEEncode().encode(vae, large)[0], mask)[0]
        assert "noise_mask" in VAEEncodeForInpaint().encode(vae, large, torch.ones(1, 64, 64), grow_mask_by=6)[0]
        differential = nodes.NODE_CLASS_MAPPINGS["DifferentialDiffusion"]()
        (model,) = getattr(differential, differential.FUNCTION)(model)
        made = KSampler().sample(model, 1, 2, 2.0, sampler_name, scheduler, positive, negative, latent, 0.5)[0]
        made = nodes.KSamplerAdvanced().sample(
            model, "enable", 1, 2, 2.0, sampler_name, scheduler, positive, negative, made, 1, 2, "disable", 0.5
        )[0]
        new = VAEDecode().decode(vae, made)[0].movedim(-1, 1)
        whole = nodes_mask.composite(image.movedim(-1, 1).clone(), new, width // 4, height // 4, None, 1, True).movedim(1, -1)
        PromptServer.instance.send_sync("studio-feedback", {"node_id": unique_id})
        return whole, [Seg(new, mask.numpy(), (0, 0, width, height))]


class Compare(PreviewImage):
    CATEGORY = "studio"
    FUNCTION = "compare"

    def __init__(self):
        super().__init__()
        self.prefix_append = "_studio"

    @classmethod
    def INPUT_TYPES(cls):
        hidden = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
        return {"required": {}, "optional": {"image_a": ("IMAGE",), "image_b": ("IMAGE",)}, "hidden": hidden}

    def compare(self, image_a=None, image_b=None, prompt=None, extra_pnginfo=None):
        saved = [self.save_images(i, "studio.compare.", prompt, extra_pnginfo)["ui"]["images"] for i in (image_a, image_b) if i is not None]
        return {"ui": {"a_images": saved[0], "b_images": saved[-1]}}


class PowerLora(Studio):
    """Rows of a widget of its own arrive as dicts under names nobody declared."""

    RETURN_TYPES = (Anything("*"), Anything("*"), "STRING")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": AnyOptional()}

    def go(self, model=None, clip=None, **rows):
        rows = {name: row for name, row in rows.items() if isinstance(row, dict) and "lora" in row}
        for row in rows.values():
            if row["on"] and row["lora"] in folder_paths.get_filename_list("loras"):
                model, clip = LoraLoader().load_lora(model, clip, row["lora"], row["strength"], row["strength"])
        return model, clip, json.dumps({name: row["strength"] for name, row in rows.items()})


class Residuals(comfy.controlnet.ControlBase):
    """Runs the control before it and doubles what that one said."""

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        SEEN.append((tuple(x_noisy.shape), cond["c_crossattn"].shape[0], batched_number, float(t[0]) > self.timestep_range[1]))
        if self.previous_controlnet is None:
            return None
        found = self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, transformer_options)
        return found and {place: [None if v is None else v * 2 for v in values] for place, values in found.items()}

    def pre_run(self, model, percent_to_timestep_function):
        super().pre_run(model, percent_to_timestep_function)
        assert model.latent_format.latent_channels == 4 and model.model_sampling.sigma_max > 1

    def copy(self):
        made = Residuals()
        self.copy_to(made)
        return made


class Doubled(Studio):
    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",)}}

    def go(self, conditioning):
        made = []
        for tensor, options in conditioning:
            control = Residuals().copy().set_cond_hint(torch.zeros(1, 3, 64, 64), 1.0, (0.0, 1.0))
            control.set_previous_controlnet(options.get("control"))
            made.append([tensor, {**options, "control": control, "control_apply_to_uncond": True}])
        return (made,)


@torch.no_grad()
def sample_studio(model, x, sigmas, extra_args=None, callback=None, disable=None, eta=0.5, noise_sampler=None):
    extra_args = {} if extra_args is None else extra_args
    noise_sampler = noise_sampler or k_diffusion_sampling.default_noise_sampler(x, seed=extra_args.get("seed"))
    uncond = []

    def post_cfg(args):
        uncond[:] = [args["uncond_denoised"]]
        return args["denoised"]

    options = extra_args.get("model_options", {}).copy()
    extra_args["model_options"] = comfy.model_patcher.set_model_options_post_cfg_function(options, post_cfg, disable_cfg1_optimization=True)
    sampling = model.inner_model.model_patcher.get_model_object("model_sampling")
    assert float(sampling.sigma_max) == float(model.inner_model.inner_model.model_sampling.sigma_max)
    assert model.inner_model.cfg == 2.0 and list(model.inner_model.conds) == ["positive", "negative"]
    for i in k_diffusion_sampling.trange(len(sigmas) - 1, disable=disable):
        denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **extra_args)
        down, up = k_diffusion_sampling.get_ancestral_step(sigmas[i], sigmas[i + 1], eta=eta)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        x = denoised + k_diffusion_sampling.to_d(x, sigmas[i], uncond[0]) * down
        if sigmas[i + 1] > 0:
            x = x + noise_sampler(sigmas[i], sigmas[i + 1]) * up
    return x


comfy.samplers.KSampler.SAMPLERS.insert(comfy.samplers.KSampler.SAMPLERS.index("uni_pc_bh2") + 1, "studio")
k_diffusion_sampling.sample_studio = sample_studio


class Thresholds(Studio):
    """A mask that grows from step to step."""

    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def go(self, model):
        model = model.clone()
        model.set_model_denoise_mask_function(self.forward)
        return (model,)

    def forward(self, sigma, denoise_mask, extra_options):
        sampling = extra_options["model"].inner_model.model_sampling
        first, last = (sampling.timestep(s) for s in (extra_options["sigmas"][0], sampling.sigma_min))
        threshold = (sampling.timestep(sigma[0]) - last) / (first - last)
        SEEN.append(float(threshold))
        return (denoise_mask >= threshold).to(denoise_mask.dtype)


class Looks(Studio):
    """Looks into what large packs look into."""

    RETURN_TYPES = ("STRING",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "clip": ("CLIP",), "latent": ("LATENT",)}}

    def go(self, model, clip, latent):
        words = clip.tokenizer.clip_l
        ids = words.tokenizer("a cat")["input_ids"]
        assert ids[0] == words.start_token and words.inv_vocab[ids[1]] == "a</w>" and words.tokenizer.decode(ids[1:-1]).strip() == "a cat"
        assert words.embedding_key == "clip_l" and words.embedding_size == clip.encode("x").shape[-1]
        assert clip.cond_stage_model.clip_l.transformer.get_input_embeddings().weight.shape[1] == words.embedding_size
        key = next(k for k in clip.get_sd() if k.endswith("q_proj.weight"))
        assert clip.clone().add_patches({f"clip_l.transformer.{key}": (torch.zeros(1),)}) == [f"clip_l.transformer.{key}"]
        ((_, masked),) = nodes.ConditioningSetMask().append([[clip.encode("x"), {}]], torch.ones(1, 64, 64), "mask bounds", 0.5)[0]
        assert masked["mask_strength"] == 0.5 and masked["set_area_to_bounds"] is True
        net = model.model.diffusion_model
        assert net.dtype == model.model_dtype()
        blocks = [m for m in net.modules() if isinstance(m, attention.CrossAttention)]

        class Own(attention.CrossAttention):
            pass

        assert blocks and not isinstance(blocks[0], Own)
        own = Own(8, context_dim=6, heads=2, dim_head=4, operations=comfy.ops.manual_cast)
        for weight in own.parameters():
            torch.nn.init.ones_(weight)
        assert own(torch.ones(1, 4, 8), torch.ones(1, 3, 6)).shape == (1, 4, 8) and isinstance(own, attention.CrossAttention)
        assert attention.FeedForward(8, glu=True, operations=torch.nn)(torch.ones(1, 4, 8)).shape == (1, 4, 8)
        guider = nodes_custom_sampler.Guider_Basic(model)
        guider.set_conds([[clip.encode("x"), {}]])
        noise = nodes_custom_sampler.Noise_RandomNoise(3).generate_noise(latent)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "karras", 2)
        made = guider.sample(noise, latent["samples"], comfy.samplers.ksampler("euler"), sigmas, seed=3)
        return {"ui": {"text": [str(tuple(made.shape))]}, "result": ("",)}


NODE_CLASS_MAPPINGS = {f"Studio{c.__name__}": c for c in (Detail, Compare, PowerLora, Doubled, Thresholds, Looks)}
nodes.EXTENSION_WEB_DIRS["studio_web"] = os.path.join(os.path.dirname(os.path.realpath(__file__)), "js")
