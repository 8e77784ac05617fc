"""`BaseModel`: a diffusion model's net with what belongs to it, as packs look into it."""

from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import Any

import torch

import comfy.conds
import comfy.latent_formats
import comfy.model_management
import comfy.model_sampling
from backend.diffusion.handle import ModelHandle
from backend.nn.embeddings import timestep_embedding
from backend.packs.host import HOST


class ModelType(enum.Enum):
    EPS = 1
    V_PREDICTION = 2
    V_PREDICTION_EDM = 3
    STABLE_CASCADE = 4
    EDM = 5
    FLOW = 6
    V_PREDICTION_CONTINUOUS = 7
    FLUX = 8
    IMG_TO_IMG = 9


_TYPES = {
    "eps": ModelType.EPS,
    "v": ModelType.V_PREDICTION,
    "edm": ModelType.EDM,
    "flow": ModelType.FLOW,
    "img_to_img": ModelType.IMG_TO_IMG,
}


def model_sampling(model_config: Any, model_type: ModelType) -> Any:
    """The object that packs combine for a kind of model."""
    s = comfy.model_sampling
    kinds = {
        ModelType.EPS: (s.ModelSamplingDiscrete, s.EPS),
        ModelType.V_PREDICTION: (s.ModelSamplingDiscrete, s.V_PREDICTION),
        ModelType.V_PREDICTION_EDM: (s.ModelSamplingContinuousEDM, s.V_PREDICTION),
        ModelType.V_PREDICTION_CONTINUOUS: (s.ModelSamplingContinuousV, s.V_PREDICTION),
        ModelType.EDM: (s.ModelSamplingContinuousEDM, s.EDM),
        ModelType.FLOW: (s.ModelSamplingDiscreteFlow, s.CONST),
        ModelType.FLUX: (s.ModelSamplingFlux, s.CONST),
        ModelType.IMG_TO_IMG: (s.ModelSamplingDiscrete, s.IMG_TO_IMG),
    }
    table, kind = kinds[model_type]
    return type("ModelSampling", (table, kind), {})(model_config)


class BaseModel(torch.nn.Module):
    """`handle` is the model behind it; packs may also construct one of their own nets."""

    def __init__(self, model_config: Any = None, model_type: ModelType = ModelType.EPS, device: Any = None, unet_model: Any = None) -> None:
        super().__init__()
        self.model_config = model_config
        self.model_type = model_type
        self.device = device
        self.manual_cast_dtype: Any = None
        self.concat_keys: tuple[str, ...] = ()
        self.memory_usage_factor = 2.0
        self.current_patcher: Any = None
        self.__dict__["handle"] = None
        self.__dict__["_diffusion_model"] = None
        self.__dict__["_sampling"] = None
        if model_config is not None and unet_model is not None:
            self.diffusion_model_own = unet_model(**getattr(model_config, "unet_config", {}), device=device)
            self.__dict__["_diffusion_model"] = self.diffusion_model_own

    def with_patcher(self, patcher: Any) -> Any:
        """The same model seen through another patcher."""
        made = of(self.handle)
        made.__class__ = self.__class__
        made.__dict__["current_patcher"] = patcher
        if self.__dict__["_diffusion_model"] is not None:
            made.__dict__["_diffusion_model"] = self.__dict__["_diffusion_model"]
        return made

    @property
    def diffusion_model(self) -> Any:
        """The net. Its weights are views on the file; while a sampling runs with injections it is the running net."""
        found = self.__dict__["_diffusion_model"]
        if found is None:
            found = _net(self.handle)
            self.__dict__["_diffusion_model"] = found
        return found

    @property
    def model_sampling(self) -> Any:
        patcher = self.__dict__.get("current_patcher")
        if patcher is not None and "model_sampling" in patcher.object_patches:
            return patcher.object_patches["model_sampling"]
        if self.__dict__["_sampling"] is None:
            self.__dict__["_sampling"] = comfy.model_sampling.dress(self.handle.noise)
        return self.__dict__["_sampling"]

    @model_sampling.setter
    def model_sampling(self, value: Any) -> None:
        self.__dict__["_sampling"] = value

    @property
    def latent_format(self) -> Any:
        return comfy.latent_formats.dress(self.handle.family.latent)

    @property
    def adm_channels(self) -> int:
        return int(getattr(self.handle.sizes, "adm", None) or 0)

    @property
    def inpaint_model(self) -> bool:
        return bool(self.concat_keys)

    def get_dtype(self) -> Any:
        return self.handle.loadable.dtype if self.handle is not None else next(self.parameters()).dtype

    def get_dtype_inference(self) -> Any:
        return self.get_dtype()

    def process_latent_in(self, latent: Any) -> Any:
        return self.latent_format.process_in(latent)

    def process_latent_out(self, latent: Any) -> Any:
        return self.latent_format.process_out(latent)

    def scale_latent_inpaint(self, sigma: Any, noise: Any, latent_image: Any, **kwargs: Any) -> Any:
        return self.model_sampling.noise_scaling(sigma.reshape([sigma.shape[0]] + [1] * (noise.ndim - 1)), noise, latent_image)

    def is_adm(self) -> bool:
        return self.adm_channels > 0

    def set_inpaint(self) -> None:
        self.concat_keys = ("mask", "masked_image")

    def memory_required(self, input_shape: Any, cond_shapes: Any = None) -> int:
        return self.handle.family.working_bytes(tuple(input_shape), self.handle.sizes)

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """What the net is told besides the latents."""
        cond = {**kwargs}
        noise = cond.get("noise")
        made = self.handle.family.inputs([cond], self.handle.sizes, tuple(noise.shape)) if noise is not None else {}
        from comfy._taps import NAMES

        kinds = {"context": comfy.conds.CONDCrossAttn, "concat": comfy.conds.CONDNoiseShape}
        return {NAMES.get(k, k): kinds.get(k, comfy.conds.CONDRegular)(v) for k, v in made.items()}

    def extra_conds_shapes(self, **kwargs: Any) -> dict[str, Any]:
        return {}

    def encode_adm(self, **kwargs: Any) -> Any:
        return None

    def apply_model(
        self,
        x: Any,
        t: Any,
        c_concat: Any = None,
        c_crossattn: Any = None,
        control: Any = None,
        transformer_options: Any = None,
        **kwargs: Any,
    ) -> Any:
        """x0 of x [B, C, ...] at sigma t [B]; brings the net to the device for the call unless a sampling runs already."""
        from backend.diffusion.denoiser import Denoiser, cast
        from comfy._taps import BACK, net_taps

        patcher = self.current_patcher
        handle = patcher.undressed() if patcher is not None else self.handle
        given = {"c_concat": c_concat, "c_crossattn": c_crossattn, "control": control, **kwargs}
        inputs = {BACK.get(k, k): v for k, v in given.items() if v is not None}
        pool = HOST.services.pool
        inputs = cast(inputs, pool.device, handle.loadable.dtype)
        options = transformer_options or {}
        taps = net_taps(patcher, options) if patcher is not None else {}
        if taps:
            inputs |= {"taps": taps, "facts": {k: v for k, v in options.items() if k in ("cond_or_uncond", "sigmas", "uuids")}}
        with torch.inference_mode(), pool.lease(handle.leasable()) as net:
            return Denoiser(handle, net, {}).apply(x.to(pool.device), t.float().cpu(), inputs)

    def state_dict_for_saving(
        self, clip_state_dict: Any = None, vae_state_dict: Any = None, clip_vision_state_dict: Any = None
    ) -> dict[str, Any]:
        made = {f"model.diffusion_model.{k}": v for k, v in self.handle.loadable.source.items()}
        for prefix, part in (("cond_stage_model.", clip_state_dict), ("first_stage_model.", vae_state_dict)):
            made |= {prefix + k: v for k, v in (part or {}).items()}
        return made

    def load_model_weights(self, sd: Any, unet_prefix: str = "") -> Any:
        self.diffusion_model.load_state_dict({k.removeprefix(unet_prefix): v for k, v in sd.items()}, strict=False)
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        if self.handle is None:
            return super().state_dict(*args, **kwargs)
        return {f"diffusion_model.{k}": v for k, v in self.handle.loadable.source.items()}


def _net(handle: ModelHandle) -> torch.nn.Module:
    """The net with the file's weights as its parameters; nothing is copied."""
    with torch.device("meta"):
        net = handle.loadable.build()
    net.__dict__.setdefault("dtype", handle.loadable.dtype)
    return _filled(net, handle.loadable.source)


def _filled(net: torch.nn.Module, source: Any) -> torch.nn.Module:
    for path, module in net.named_modules():
        for name in list(module._parameters):
            full = f"{path}.{name}" if path else name
            if full in source:
                module._parameters[name] = torch.nn.Parameter(source[full], requires_grad=False)
    return net.eval()


class SDXL(BaseModel):
    pass


class SDXLRefiner(BaseModel):
    pass


class SD21UNCLIP(BaseModel):
    pass


class SVD_img2vid(BaseModel):
    pass


class Flux(BaseModel):
    pass


class SD3(BaseModel):
    pass


class WAN21(BaseModel):
    pass


class HunyuanVideo(BaseModel):
    pass


class LTXV(BaseModel):
    pass


_CLASSES = (
    ("SDXL refiner", SDXLRefiner),
    ("Stable Diffusion XL", SDXL),
    ("SDXL", SDXL),
    ("Flux", Flux),
    ("Stable Diffusion 3", SD3),
    ("Wan", WAN21),
)


def of(handle: ModelHandle) -> BaseModel:
    """A model of ours under these names."""
    cls = next((c for name, c in _CLASSES if handle.family.name.startswith(name)), BaseModel)
    made = cls()
    made.__dict__["handle"] = handle
    made.model_type = _TYPES.get(handle.noise.prediction.name, ModelType.EPS)
    made.device = comfy.model_management.get_torch_device()
    made.model_config = SimpleNamespace(
        unet_config=unet_config(handle), latent_format=comfy.latent_formats.dress(handle.family.latent), sampling_settings={}, unet_extra_config={},
        manual_cast_dtype=None, memory_usage_factor=2.0, custom_operations=None, optimizations={},
    )  # fmt: skip
    return made


def unet_config(handle: ModelHandle) -> dict[str, Any]:
    """Sizes under the names of the published configurations, as far as a UNet has them; other nets give their own names."""
    s = handle.sizes
    if not hasattr(s, "depth_in"):
        return dict(vars(s)) if hasattr(s, "__dict__") else {}
    return config_of(s, handle.loadable.dtype)


def config_of(s: Any, dtype: Any) -> dict[str, Any]:
    """The sizes of a UNet under the names of the published configurations."""
    return {
        "image_size": 32, "in_channels": s.in_channels, "out_channels": s.out_channels, "model_channels": s.channels[0],
        "channel_mult": [c // s.channels[0] for c in s.channels], "num_res_blocks": list(s.res_blocks), "context_dim": s.context,
        "transformer_depth": list(s.depth_in), "transformer_depth_output": list(s.depth_out), "transformer_depth_middle": s.depth_middle,
        "num_heads": s.heads if s.heads is not None else -1, "num_head_channels": s.head_dim if s.head_dim is not None else -1,
        "use_linear_in_transformer": s.linear, "adm_in_channels": s.adm, "use_spatial_transformer": True, "legacy": False,
        "dtype": dtype,
    }  # fmt: skip


class Timestep(torch.nn.Module):
    """The sinusoidal embedding of a number."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, t: Any) -> Any:
        return timestep_embedding(t, self.dim)


def sdxl_pooled(args: Any, noise_augmentor: Any) -> Any:
    return args["pooled_output"]


def convert_tensor(extra: Any, dtype: Any, device: Any) -> Any:
    return extra.to(device=device, dtype=dtype) if getattr(extra, "is_floating_point", lambda: False)() else extra
