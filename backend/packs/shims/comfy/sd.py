"""`comfy.sd`: text encoders, autoencoders and loading, on the handles of this application."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import torch

import comfy.model_management
import comfy.utils
from backend.base.errors import NotInstalled
from backend.codecs.kl.spec import between
from backend.codecs.wan.spec import WanHandle
from backend.encoders.joint import published
from backend.families import load as families
from backend.packs.facade import Dressed
from backend.packs.host import HOST
from backend.weights import lora
from backend.weights.patch import Patch
from comfy import model_detection  # noqa: F401 - packs reach it through here
from comfy.lora import StateDict, delta_of
from comfy.model_base import _filled
from comfy.model_patcher import ModelPatcher
from comfy.model_patcher import dress as dress_model


class CLIPType(Enum):
    STABLE_DIFFUSION = 1
    STABLE_CASCADE = 2
    SD3 = 3
    STABLE_AUDIO = 4
    HUNYUAN_DIT = 5
    FLUX = 6
    MOCHI = 7
    LTXV = 8
    HUNYUAN_VIDEO = 9
    PIXART = 10
    COSMOS = 11
    LUMINA2 = 12
    WAN = 13
    HIDREAM = 14
    CHROMA = 15
    ACE = 16
    OMNIGEN2 = 17
    QWEN_IMAGE = 18
    HUNYUAN_IMAGE = 19


class TEModel(Enum):
    CLIP_L = 1
    CLIP_H = 2
    CLIP_G = 3
    T5_XXL = 4


def _pool() -> Any:
    return HOST.services.pool


def part_of(handle: Any, branch: str | None) -> Any:
    """The encoder of a branch among those of a handle, or the first one."""
    parts = getattr(handle, "parts", (handle,))
    return next((p for p in parts if getattr(p, "branch", None) == branch), parts[0])


class _Encoder(torch.nn.Module):
    """`cond_stage_model`: the net, and its branch under the name packs look for (clip_l, clip_g)."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        branch = getattr(clip.handle, "branch", "l")
        self.__dict__.update(owner=clip, handle=clip.handle, clip_name=branch, clip=f"clip_{branch}", layer="last", layer_idx=None)

    def __getattr__(self, name: str) -> Any:
        if name in ("clip_l", "clip_g", "clip_h") and name.removeprefix("clip_") in self.owner.branches():
            return _Branch(self.owner, name.removeprefix("clip_"))
        if name in self.owner.branches():
            return _Branch(self.owner, name)
        if name == "transformer":
            return self.owner.net()
        HOST.want(f"comfy.sd.CLIP.cond_stage_model.{name}")
        raise AttributeError(f"This text encoder has no attribute {name!r}.")

    def encode_token_weights(self, tokens: Any) -> tuple[Any, Any]:
        return self.owner.encode_from_tokens(tokens, return_pooled=True)

    def set_clip_options(self, options: Any) -> None:
        if "layer" in options:
            self.owner.clip_layer(options["layer"])

    def reset_clip_options(self) -> None:
        self.owner.layer_idx = None

    def clip_layer(self, layer_idx: int) -> None:
        self.owner.clip_layer(layer_idx)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return dict(self.handle.loadable.source)

    def load_sd(self, sd: Any) -> Any:
        raise NotInstalled("Replacing the weights of a text encoder in place is not done here.", hint="Use add_patches.")


class _Branch:
    """One of the encoders of a text encoder."""

    special_tokens = {"start": 49406, "end": 49407, "pad": 49407}  # noqa: RUF012
    num_layers = 12

    def __init__(self, clip: Any, name: str) -> None:
        self.owner, self.name = clip, name
        self.layer, self.layer_idx = "last", clip.layer_idx

    def encode_token_weights(self, chunks: Any) -> tuple[Any, Any]:
        """What this encoder alone makes of its tokens: (cond, pooled)."""
        encoded = part_of(self.owner.undressed(), self.name).encoded({self.name: chunks}, _pool())
        return encoded.cond, encoded.pooled

    def encode(self, tokens: Any) -> Any:
        return self.encode_token_weights([[(t, 1.0) for t in chunk] for chunk in tokens])

    @property
    def transformer(self) -> Any:
        return self.owner.net(self.name)

    def clip_layer(self, layer_idx: int) -> None:
        self.owner.clip_layer(layer_idx)


class _Tokenizer:
    """`clip.tokenizer`, with the tokenizer of each branch."""

    def __init__(self, clip: Any) -> None:
        self.clip = clip

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> Any:
        return self.clip.tokenize(text, return_word_ids)

    def __getattr__(self, name: str) -> Any:
        branch = name.removeprefix("clip_")
        if branch in self.clip.branches():
            return _BranchTokenizer(self.clip, branch)
        return getattr(self.clip.part().tokenizer, name)

    def untokenize(self, token_weight_pair: Any) -> Any:
        return [(pair, "") for pair in token_weight_pair]


class _Words:
    """The vocabulary of CLIP as the objects of the `transformers` library show theirs."""

    def __init__(self) -> None:
        from backend.encoders.clip.vocabulary import byte_pairs

        self.pairs = byte_pairs()

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        found = list(self.pairs.encode(text, add_special_tokens=False).ids)
        return [_BranchTokenizer.start_token, *found, _BranchTokenizer.end_token] if add_special_tokens else found

    def __call__(self, text: str, add_special_tokens: bool = True, **kwargs: Any) -> dict[str, list[int]]:
        found = self.encode(text, add_special_tokens)
        return {"input_ids": found, "attention_mask": [1] * len(found)}

    def decode(self, token_ids: Any, skip_special_tokens: bool = False) -> str:
        ids = [int(t) for t in token_ids if not skip_special_tokens or int(t) < _BranchTokenizer.start_token]
        return "".join(self.convert_ids_to_tokens(ids)).replace("</w>", " ").strip()

    def tokenize(self, text: str) -> list[str]:
        return self.convert_ids_to_tokens(self.encode(text, add_special_tokens=False))

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        return self.pairs.id_to_token(ids) if isinstance(ids, int) else [self.pairs.id_to_token(int(i)) for i in ids]

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        return self.pairs.token_to_id(tokens) if isinstance(tokens, str) else [self.pairs.token_to_id(t) for t in tokens]

    def get_vocab(self) -> dict[str, int]:
        return self.pairs.get_vocab()

    def __len__(self) -> int:
        return self.pairs.get_vocab_size()


class _BranchTokenizer:
    max_length = 77
    start_token, end_token = 49406, 49407
    pad_with_end = True
    tokens_start = 1
    embedding_identifier = "embedding:"

    def __init__(self, clip: Any, branch: str) -> None:
        self.clip, self.branch = clip, branch

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> Any:
        return self.clip.tokenize(text, return_word_ids)[self.branch]

    @property
    def tokenizer(self) -> Any:
        """The vocabulary: of CLIP's in full, of others what our own tokenizer offers."""
        return _Words() if hasattr(self.clip.part(self.branch).tokenizer, "pad") else self.clip.part(self.branch).tokenizer

    @property
    def inv_vocab(self) -> dict[int, str]:
        return {number: word for word, number in self.tokenizer.get_vocab().items()}

    @property
    def embedding_size(self) -> int:
        return int(self.clip.part(self.branch).width)

    @property
    def embedding_key(self) -> str:
        return published(self.branch)

    @property
    def embedding_directory(self) -> Any:
        return [str(p) for p in HOST.services.folders.kind("embeddings").paths]


def _spelled(key: str) -> list[str]:
    """A weight of a text encoder under the names it may have here: alone, and beside other encoders."""
    branch, _, rest = key.partition(".transformer.")
    return [key, rest, f"{branch}.{rest}", f"clip_{branch}.{rest}", key.removeprefix("clip_l.")]


class CLIP(Dressed):
    """A text encoder. `clone()` before changing it."""

    def __init__(self, handle: Any = None, **kwargs: Any) -> None:
        if handle is None:
            raise NotInstalled("Text encoders are made by comfy.sd.load_clip here, not by CLIP(...).")
        self.handle = handle
        self.layer_idx = getattr(handle, "layer", None)
        self.tokenizer_options: dict[str, Any] = {}
        self.use_clip_schedule = False
        self.apply_hooks_to_conds: Any = None
        self.patches: dict[str, list[Any]] = {}

    def branches(self) -> tuple[str, ...]:
        return tuple(self.tokenize(""))

    def part(self, branch: str | None = None) -> Any:
        """The encoder of a branch, or the first one."""
        return part_of(self.handle, branch)

    def net(self, branch: str | None = None) -> Any:
        loadable = self.part(branch).loadable
        with torch.device("meta"):
            net = loadable.build()
        net = _filled(net, loadable.source)
        table = next((m for m in net.modules() if hasattr(m, "weight") and type(m).__name__ == "Embedding"), None)
        if table is not None:
            net.__dict__["get_input_embeddings"] = lambda: table
        return net

    @property
    def cond_stage_model(self) -> Any:
        return _Encoder(self)

    @property
    def tokenizer(self) -> Any:
        return _Tokenizer(self)

    @property
    def patcher(self) -> Any:
        return _ClipPatcher(self)

    def undressed(self) -> Any:
        handle = self.handle
        made = []
        for key, entries in self.patches.items():
            for strength, value, strength_model, offset, function, mark in entries:
                made.append(Patch(key, strength, f"{mark}|{key}", delta_of(strength, value, strength_model, offset, function, key)))
        handle = handle.patched(*made) if made else handle
        return handle.with_layer(self.layer_idx) if self.layer_idx != getattr(handle, "layer", None) else handle

    def clone(self, disable_dynamic: bool = False) -> CLIP:
        made = CLIP(self.handle)
        made.layer_idx, made.use_clip_schedule = self.layer_idx, self.use_clip_schedule
        made.tokenizer_options = dict(self.tokenizer_options)
        made.patches = {k: list(v) for k, v in self.patches.items()}
        return made

    def add_patches(self, patches: Any, strength_patch: float = 1.0, strength_model: float = 1.0) -> list[Any]:
        import uuid

        mark, accepted, source = uuid.uuid4().hex, [], self.handle.loadable.source
        for full, value in patches.items():
            key, offset, function = (*full, None, None)[:3] if isinstance(full, tuple) else (full, None, None)
            name = next((n for n in _spelled(key) if n in source), None)
            if name is not None:
                accepted.append(full)
                self.patches.setdefault(name, []).append((strength_patch, value, strength_model, offset, function, mark))
        return accepted

    def clip_layer(self, layer_idx: int | None) -> None:
        self.layer_idx = layer_idx

    def set_tokenizer_option(self, option_name: str, value: Any) -> None:
        self.tokenizer_options[option_name] = value

    def tokenize(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> Any:
        return self.handle.tokenize(text, return_word_ids)

    def encode_from_tokens(self, tokens: Any, return_pooled: Any = False, return_dict: bool = False) -> Any:
        encoded = self.undressed().encoded(tokens, _pool())
        cond, pooled = encoded.cond, encoded.pooled
        if return_dict:
            return {"cond": cond, "pooled_output": pooled, **encoded.extra}
        return (cond, pooled) if return_pooled else cond

    def encode_from_tokens_scheduled(self, tokens: Any, unprojected: bool = False, add_dict: Any = None, show_pbar: bool = True) -> Any:
        handle = self.undressed()
        encoded = handle.encoded(tokens, _pool())
        carried = {"hooks": handle.hooks} if getattr(handle, "on_conds", False) else {}
        return [[encoded.cond, {"pooled_output": encoded.pooled, **encoded.extra, **carried, **(add_dict or {})}]]

    def encode(self, text: str) -> Any:
        return self.encode_from_tokens(self.tokenize(text))

    def add_hooks_to_dict(self, pooled_dict: Any) -> Any:
        return pooled_dict

    def load_model(self, tokens: Any = None) -> Any:
        return self.patcher

    def get_sd(self) -> dict[str, Any]:
        return dict(self.handle.loadable.source)

    def load_sd(self, sd: Any, full_model: bool = False) -> Any:
        return self.cond_stage_model.load_sd(sd)

    def get_key_patches(self) -> dict[str, list[Any]]:
        return {k: [(v, lambda w: w), *(e[:5] for e in self.patches.get(k, ()))] for k, v in self.handle.loadable.source.items()}


class _ClipPatcher:
    """`clip.patcher`."""

    def __init__(self, clip: CLIP) -> None:
        self.clip = clip
        self.load_device = self.offload_device = comfy.model_management.get_torch_device()
        self.forced_hooks = None
        self.is_clip = True
        self.model_options: dict[str, Any] = {}

    @property
    def model(self) -> Any:
        return self.clip.cond_stage_model

    @property
    def patches(self) -> Any:
        return self.clip.patches

    def clone(self) -> Any:
        return _ClipPatcher(self.clip.clone())

    def add_patches(self, *args: Any, **kwargs: Any) -> Any:
        return self.clip.add_patches(*args, **kwargs)

    def model_dtype(self) -> Any:
        return self.clip.part().loadable.dtype

    def model_size(self) -> int:
        return sum(t.nbytes for t in self.clip.handle.loadable.source.values())

    def get_key_patches(self, *args: Any) -> Any:
        return self.clip.get_key_patches()

    def patch_model(self, *args: Any, **kwargs: Any) -> Any:
        return self.model

    def unpatch_model(self, *args: Any, **kwargs: Any) -> None:
        return None


def dress_clip(handle: Any) -> CLIP:
    return CLIP(handle)


class VAE(Dressed):
    """An autoencoder; pixels are [B, H, W, C] in 0..1. `VAE(sd=...)` makes one of a state dict."""

    def __init__(
        self, sd: Any = None, device: Any = None, config: Any = None, dtype: Any = None, metadata: Any = None, handle: Any = None
    ) -> None:
        if handle is None:
            handle = families.vae_in(StateDict(sd), dtype or comfy.model_management.vae_dtype())
            if handle is None:
                raise NotInstalled("These weights hold no autoencoder of a kind that is installed.")
        self.handle = handle
        self.device = comfy.model_management.get_torch_device()
        self.output_device = torch.device("cpu")
        self.vae_dtype = handle.loadable.dtype
        self.disable_offload = False
        self.not_video = not self._has_time
        self.extra_1d_channel = None
        self.size: Any = None

    def undressed(self) -> Any:
        return self.handle

    @property
    def downscale_ratio(self) -> int:
        return self.handle.factor

    upscale_ratio = downscale_ratio

    @property
    def latent_channels(self) -> int:
        return self.handle.channels

    @property
    def _has_time(self) -> bool:
        return isinstance(self.handle, WanHandle)

    @property
    def latent_dim(self) -> int:
        """2 for pictures, 3 for films."""
        return 3 if self._has_time else 2

    output_channels = 3

    @property
    def first_stage_model(self) -> Any:
        with torch.device("meta"):
            net = self.handle.loadable.build()
        return _filled(net, self.handle.loadable.source)

    @property
    def patcher(self) -> Any:
        return ModelPatcher(self.first_stage_model)

    def spacial_compression_decode(self) -> int:
        return self.handle.factor

    spacial_compression_encode = spacial_compression_decode

    def temporal_compression_decode(self) -> Any:
        """Frames of a film that one of its latent stands for; None for pictures."""
        return 4 if self._has_time else None

    def throw_exception_if_invalid(self) -> None:
        return None

    def is_dynamic(self) -> bool:
        return False

    def vae_encode_crop_pixels(self, pixels: Any) -> Any:
        """Sides cropped evenly to multiples of the factor, three channels."""
        f = self.handle.factor
        height, width = pixels.shape[1] // f * f, pixels.shape[2] // f * f
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        return pixels[:, top : top + height, left : left + width, :3]

    def process_input(self, image: Any) -> Any:
        return image * 2.0 - 1.0

    def process_output(self, image: Any) -> Any:
        return torch.clamp((image + 1.0) / 2.0, min=0.0, max=1.0)

    def memory_used_encode(self, shape: Any, dtype: Any) -> int:
        return self.handle.working_bytes(shape[-2], shape[-1], dtype)

    def memory_used_decode(self, shape: Any, dtype: Any) -> int:
        return self.handle.working_bytes(shape[-2] * self.handle.factor, shape[-1] * self.handle.factor, dtype)

    def encode(self, pixel_samples: Any) -> Any:
        return self.handle.encode(pixel_samples, _pool(), check=HOST.context().check)

    def decode(self, samples_in: Any, vae_options: Any = None) -> Any:
        return self.handle.decode(samples_in.float().cpu(), _pool(), check=HOST.context().check)

    def encode_tiled(
        self, pixel_samples: Any, tile_x: int = 512, tile_y: int = 512, overlap: int = 64, tile_t: Any = None, overlap_t: Any = None
    ) -> Any:
        check = between(HOST.context().check)
        return self.handle.encode_tiled(pixel_samples, _pool(), tile_x or 512, 64 if overlap is None else overlap, on_tile=check)

    def decode_tiled(
        self, samples: Any, tile_x: int = 64, tile_y: int = 64, overlap: int = 16, tile_t: Any = None, overlap_t: Any = None
    ) -> Any:
        f, check = self.handle.factor, between(HOST.context().check)
        sides = (tile_x or 64) * f, (16 if overlap is None else overlap) * f
        return self.handle.decode_tiled(samples.float().cpu(), _pool(), *sides, on_tile=check)

    def get_sd(self) -> dict[str, Any]:
        return dict(self.handle.loadable.source)


def dress_vae(handle: Any) -> VAE:
    return VAE(handle=handle)


class StyleModel:
    """A projection of a picture's encoding into text tokens."""

    def __init__(self, model: Any, device: Any = "cpu") -> None:
        self.model = model

    def get_cond(self, input: Any) -> Any:
        return self.model(input.last_hidden_state)


# -- loading


def load_checkpoint_guess_config(
    ckpt_path: Any, output_vae: bool = True, output_clip: bool = True, output_clipvision: bool = False, embedding_directory: Any = None,
    output_model: bool = True, model_options: Any = None, te_model_options: Any = None,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """(model, clip, vae, clip vision); a part the file lacks is None."""
    found = families.load_checkpoint(ckpt_path, HOST.services)
    return (
        dress_model(found.model) if output_model and found.model is not None else None,
        CLIP(found.clip) if output_clip and found.clip is not None else None,
        VAE(handle=found.vae) if output_vae and found.vae is not None else None,
        None,
    )


def load_checkpoint(
    config_path: Any = None, ckpt_path: Any = None, output_vae: bool = True, output_clip: bool = True, embedding_directory: Any = None,
    state_dict: Any = None, config: Any = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    return load_checkpoint_guess_config(ckpt_path, output_vae, output_clip)[:3]


def load_diffusion_model(unet_path: Any, model_options: Any = None) -> Any:
    return dress_model(families.load_diffusion_model(unet_path, HOST.services))


def load_unet(unet_path: Any, dtype: Any = None) -> Any:
    return load_diffusion_model(unet_path)


def load_diffusion_model_state_dict(sd: Any, model_options: Any = None, metadata: Any = None) -> Any:
    """A model of weights in memory; they are written to the temp directory once, so that they can be paged like any other."""
    import hashlib

    digest = hashlib.blake2b(repr(sorted((k, tuple(v.shape), v.data_ptr()) for k, v in sd.items())).encode(), digest_size=12).hexdigest()
    path = Path(HOST.services.folders.temp) / "models" / f"{digest}.safetensors"
    if not path.exists():
        comfy.utils.save_torch_file(sd, path)
    return load_diffusion_model(path)


load_unet_state_dict = load_diffusion_model_state_dict


def load_clip(
    ckpt_paths: Any, embedding_directory: Any = None, clip_type: Any = CLIPType.STABLE_DIFFUSION, model_options: Any = None
) -> CLIP:
    paths = [ckpt_paths] if isinstance(ckpt_paths, (str, Path)) else list(ckpt_paths)
    word = str(getattr(clip_type, "name", clip_type)).lower()
    if len(paths) == 2 and word == families.UNSAID:
        word = "sdxl"
    return CLIP(families.load_text_encoders(paths, HOST.services, word))


def load_vae(path: Any) -> VAE:
    return VAE(handle=families.load_vae(path, HOST.services))


def load_lora_for_models(model: Any, clip: Any, lora_sd: Any, strength_model: float, strength_clip: float) -> tuple[Any, Any]:
    """Clones of both with the adapters of `lora_sd`."""
    file = StateDict(lora_sd)
    sides = lora.Sides.of(
        None if model is None else model.undressed(), None if clip is None else clip.undressed(), lora.read_adapters(file)
    )
    made_model, made_clip = None if model is None else model.clone(), None if clip is None else clip.clone()
    if made_model is not None and strength_model:
        made_model.add_patches({f"diffusion_model.{k}": ("adapter", a) for k, (_, a) in sides.model.items()}, strength_model)
    if made_clip is not None and strength_clip:
        made_clip.add_patches({k: ("adapter", a) for k, (_, a) in sides.clip.items()}, strength_clip)
    return made_model, made_clip


def _absent(what: str) -> Any:
    def load(*args: Any, **kwargs: Any) -> Any:
        raise NotInstalled(f"{what} cannot be loaded by a pack yet.", hint="Use the loader node of the application.")

    return load


load_style_model = _absent("Style models")
load_gligen = _absent("GLIGEN models")
load_text_encoder_state_dicts = _absent("Text encoders in memory")


def save_checkpoint(
    output_path: Any, model: Any, clip: Any = None, vae: Any = None, clip_vision: Any = None, metadata: Any = None, extra_keys: Any = None
) -> None:
    """One file of model, text encoder and autoencoder, patches applied."""
    handle = model.undressed()
    deltas = handle.leasable().deltas
    sd: dict[str, Any] = {}
    for key, weight in handle.loadable.source.items():
        changed = weight
        for delta in deltas.get(key, ()):
            changed = delta(changed.to(torch.float32, copy=True))
        sd[f"model.diffusion_model.{key}"] = changed.to(weight.dtype)
    if clip is not None:
        sd |= {f"cond_stage_model.transformer.{k}": v for k, v in clip.get_sd().items()}
    if vae is not None:
        sd |= {f"first_stage_model.{k}": v for k, v in vae.get_sd().items()}
    comfy.utils.save_torch_file({**sd, **(extra_keys or {})}, output_path, metadata)
