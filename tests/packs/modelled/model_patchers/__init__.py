"""Changes models in every way a pack can: guidance functions, attention, wrappers, weights, noise, objects inside the net."""

from typing import ClassVar

import comfy.model_patcher
import comfy.model_sampling
import comfy.patcher_extension
import comfy.samplers
import comfy.sd
import comfy.utils
import torch


class Base:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"
    CATEGORY = "modelled/model"


class PlainCfg(Base):
    """Says classifier-free guidance again, in the space of x - x0."""

    def patch(self, model):
        m = model.clone()
        m.set_model_sampler_cfg_function(lambda args: args["uncond"] + args["cond_scale"] * (args["cond"] - args["uncond"]))
        return (m,)


class OldCfg(Base):
    def patch(self, model):
        m = model.clone()
        m.set_model_sampler_cfg_function(lambda cond, uncond, scale: cond)
        return (m,)


class PostCfgHalf(Base):
    def patch(self, model):
        m = model.clone()
        m.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 0.5, disable_cfg1_optimization=True)
        return (m,)


class PreCfgSwap(Base):
    def patch(self, model):
        m = model.clone()
        m.set_model_sampler_pre_cfg_function(lambda args: args["conds_out"][::-1])
        return (m,)


class AskAgain(Base):
    """Perturbed attention: asks the net once more with another attention and moves away from the answer."""

    def patch(self, model):
        m = model.clone()

        def same(q, k, v, extra_options):
            return v

        def post(args):
            options = comfy.model_patcher.create_model_options_clone(args["model_options"])
            options = comfy.model_patcher.set_model_options_patch_replace(options, same, "attn1", "middle", 0)
            (worse,) = comfy.samplers.calc_cond_batch(args["model"], [args["cond"]], args["input"], args["sigma"], options)
            return args["denoised"] + (args["cond_denoised"] - worse) * 3.0

        m.set_model_sampler_post_cfg_function(post)
        return (m,)


class AttentionPatches(Base):
    SEEN: ClassVar = []

    def patch(self, model):
        m = model.clone()
        seen = AttentionPatches.SEEN

        def attn1(q, k, v, extra_options):
            seen.append(("attn1", tuple(extra_options["block"]), extra_options["n_heads"], extra_options["mine"]))
            return q, k, v

        def out(n, extra_options):
            return n * 0.5

        m.model_options["transformer_options"]["mine"] = 7
        m.set_model_attn1_patch(attn1)
        m.set_model_attn2_output_patch(out)
        m.set_model_input_block_patch(lambda h, to: (seen.append(("input", tuple(to["block"]), to["cond_or_uncond"])), h)[1])
        m.set_model_output_block_patch(lambda h, hsp, to: (h, hsp * 0.9))
        m.set_model_attn2_replace(lambda q, k, v, eo: torch.zeros_like(q), "middle", 0)
        return (m,)


class Wrapper(Base):
    """A model function wrapper: sees sigma, changes the text, calls on."""

    CALLS: ClassVar = []

    def patch(self, model):
        m = model.clone()

        def wrapper(apply_model, params):
            Wrapper.CALLS.append((tuple(params["cond_or_uncond"]), tuple(params["input"].shape), sorted(params["c"])))
            c = dict(params["c"])
            c["c_crossattn"] = c["c_crossattn"] * 0.0
            return apply_model(params["input"], params["timestep"], **c)

        m.set_model_unet_function_wrapper(wrapper)
        return (m,)


class Wrappers(Base):
    CALLS: ClassVar = []

    def patch(self, model):
        m = model.clone()
        w = comfy.patcher_extension.WrappersMP

        def noting(name):
            def wrapper(executor, *args, **kwargs):
                Wrappers.CALLS.append(name)
                return executor(*args, **kwargs)

            return wrapper

        for kind in (w.OUTER_SAMPLE, w.SAMPLER_SAMPLE, w.PREDICT_NOISE, w.CALC_COND_BATCH, w.APPLY_MODEL, w.DIFFUSION_MODEL):
            m.add_wrapper_with_key(kind, "modelled", noting(kind))
        m.add_callback_with_key(
            comfy.patcher_extension.CallbacksMP.ON_PRE_RUN, "modelled", lambda patcher: Wrappers.CALLS.append("pre_run")
        )
        m.add_callback_with_key(
            comfy.patcher_extension.CallbacksMP.ON_CLEANUP, "modelled", lambda patcher: Wrappers.CALLS.append("cleanup")
        )
        return (m,)


class AddWeights(Base):
    def patch(self, model):
        m = model.clone()
        keys = [k for k in m.model_state_dict() if k.endswith("attn1.to_q.weight")]
        weight = m.model_state_dict()[keys[0]]
        taken = m.add_patches({keys[0]: (torch.ones_like(weight),), "nowhere": (weight,)}, 0.5)
        assert taken == [keys[0]]
        return (m,)


class Merge(Base):
    """Half of each of two models, as merging nodes do it."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "other": ("MODEL",)}}

    def patch(self, model, other):
        m = model.clone()
        for key, patch in other.get_key_patches("diffusion_model.").items():
            m.add_patches({key: patch}, 0.5, 0.5)
        return (m,)


class Lora(Base):
    def patch(self, model):
        weight = next(v for k, v in model.model_state_dict().items() if k.endswith("middle_block.1.transformer_blocks.0.attn1.to_q.weight"))
        name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
        sd = {f"{name}.lora_up.weight": torch.ones(weight.shape[0], 2), f"{name}.lora_down.weight": torch.ones(2, weight.shape[1]) * 0.02}
        m, _ = comfy.sd.load_lora_for_models(model, None, sd, 1.0, 1.0)
        assert len(m.patches) == 1
        return (m,)


class OwnSampling(Base):
    """A noise model of its own, combined by inheritance."""

    def patch(self, model):
        class Mine(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION):
            pass

        m = model.clone()
        sampling = Mine(model.model.model_config)
        sampling.set_sigmas(comfy.model_sampling.rescale_zero_terminal_snr_sigmas(sampling.sigmas))
        m.add_object_patch("model_sampling", sampling)
        assert m.get_model_object("model_sampling") is sampling
        return (m,)


class InsideTheNet(Base):
    """Hangs another function into the running net."""

    def patch(self, model):
        m = model.clone()
        block = m.get_model_object("diffusion_model.out.2")
        assert block.weight.shape[0] == 4

        def forward(x):
            return torch.zeros(x.shape[0], 4, *x.shape[2:])

        m.add_object_patch("diffusion_model.out.2.forward", forward)
        return (m,)


class LooksAround(Base):
    RETURN_TYPES = ("STRING",)
    FUNCTION = "look"
    OUTPUT_NODE = True

    def look(self, model):
        from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

        inner = model.model
        assert isinstance(inner.diffusion_model, UNetModel)
        assert isinstance(inner.model_sampling, comfy.model_sampling.EPS)
        assert isinstance(inner.latent_format, __import__("comfy.latent_formats", fromlist=["SD15"]).SD15)
        assert inner.process_latent_out(inner.process_latent_in(torch.ones(1))).item() == 1.0
        assert model.model_size() > 0 and model.model_dtype() == torch.float32
        assert inner.model_config.unet_config["context_dim"] == inner.diffusion_model.sizes.context
        text = f"{inner.model_sampling.sigma_max:.4f} {inner.model_sampling.percent_to_sigma(0.5):.4f} {type(inner.model_type).__name__}"
        return {"ui": {"text": [text]}, "result": (text,)}


NODE_CLASS_MAPPINGS = {
    f"Modelled{c.__name__}": c
    for c in (
        PlainCfg, OldCfg, PostCfgHalf, PreCfgSwap, AskAgain, AttentionPatches, Wrapper, Wrappers, AddWeights, Merge, Lora, OwnSampling,
        InsideTheNet, LooksAround,
    )
}  # fmt: skip
