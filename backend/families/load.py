"""From a file to handles: recognise, read sizes, say what was missing or left over.

Only headers are read; weights follow at the first lease.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from backend.base.config import Settings
from backend.base.errors import BadFile, BadInput, MissingFile, NotInstalled, UnknownModel
from backend.base.paths import INDEXES, Folders
from backend.codecs.asymmetric import spec as asymmetric
from backend.codecs.consistency import spec as consistency
from backend.codecs.flux2 import spec as flux2
from backend.codecs.kl import spec as kl
from backend.codecs.kl.spec import VaeHandle
from backend.codecs.residual import spec as residual
from backend.codecs.seedvr2 import spec as seedvr2
from backend.codecs.tiny import spec as tiny
from backend.codecs.wan import spec as wan
from backend.diffusion.handle import ModelHandle
from backend.diffusion.patches.compiled import compiled
from backend.encoders.clip_vision import siglip
from backend.encoders.clip_vision import spec as vision_spec
from backend.encoders.clip_vision.handle import VisionHandle
from backend.encoders.text import Found, SingleEncoder, TextEncoder, text_encoders
from backend.families import Family, shelf
from backend.families.foreign import PREFIX, name_of
from backend.families.joining import Joiner
from backend.memory.device import DeviceFacts
from backend.memory.pool import Loadable
from backend.nn.eight import wished
from backend.weights.detect import MALFORMED, recognise, sample_of
from backend.weights.file import Header, Origin, Renamed, Views, WeightFile, identity, stored_in
from backend.weights.folder import ShardedFile, Values, read_json
from backend.weights.open import open_weights
from backend.weights.quant.cast import Cast, Multiplied

NOT_WEIGHTS = re.compile(
    r"model_ema\..*|.*position_ids|.*\.logit_scale|logit_scale|depth_model\..*|edm_vpred\..*|edm_(mean|std)|(alphas_|betas|log_one_minus|one_minus|posterior_|sqrt_|lvlb_|logvar|scale_factor|denoiser\.sigmas).*"
    r"|(.*\.)?(spiece|tekken)_model|v_pred|ztsnr|.*encoder\.embed_tokens\.weight|first_stage_model\.loss\..*|model\.(betas|alphas).*|.*num_batches_tracked"
)
"""Keys that checkpoints carry and no net asks for: averaged copies, schedules, training state, a depth estimator of another make."""


UNSAID = "stable_diffusion"
"""The loaders' first `type`: what the file holds decides."""
PREFIXES = (PREFIX, "diffusion_model.", "model.model.", "model.", "net.", "transformer.")
"""What stands before the names of a net in a file; PREFIX in checkpoints, the others where trainers kept their own."""
FEW = 6
"""Fewer keys than this that happen to begin so are no net."""
NETS = ("transformer", "unet")
"""Folders of a model in the diffusers layout that hold its net."""
CONDITIONER = "text_conditioner"
"""The folder of what stands between a text encoder and the net, and is part of the net in single files."""


class Services(Protocol):
    """What loading needs of the process."""

    @property
    def device(self) -> DeviceFacts: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def folders(self) -> Folders: ...


@dataclass(frozen=True)
class Loaded:
    """The parts of a checkpoint that were found, and the keys that none of them uses."""

    model: ModelHandle | None
    clip: TextEncoder | None
    vae: VaeHandle | None
    unmatched: tuple[str, ...] = ()
    vision: VisionHandle | None = None

    def sentence(self) -> str:
        """One line for the log."""
        parts = [name for name, part in (("model", self.model), ("text encoder", self.clip), ("VAE", self.vae)) if part is not None]
        family = f" of {self.model.family.name}" if self.model is not None else ""
        left = f"; {len(self.unmatched)} keys are not used, e.g. {sample_of(self.unmatched)}" if self.unmatched else ""
        return f"{', '.join(parts)}{family}{left}"


def load_checkpoint(path: Path | str, services: Services) -> Loaded:
    """Model, text encoder and VAE of a single-file checkpoint or a diffusers folder.

    Raises MissingFile, BadFile for a damaged file, UnknownModel for a file that holds no model of an installed family.
    """
    path = Path(path)
    if any((path / name).is_file() for name in INDEXES):
        return load_diffusers_folder(path, services)
    file = open_weights(path)
    model = _model(file, services, {})
    clips = text_encoders(_around(file, services))
    vae = vae_in(file, services.device.compute_dtype("vae", services.settings))
    vision = _vision(file, services)
    return Loaded(model, _heard(clips, model), vae, _unmatched(file, (model, *clips, vae, vision)), vision)


def load_diffusion_model(path: Path | str, services: Services, float8: torch.dtype | None = None, multiplied: bool = False) -> ModelHandle:
    """The diffusion net alone: from a checkpoint, a stand-alone file in either naming, or a folder; in `float8` where one is given, its
    matrix products too where they are to be `multiplied` so.

    Raises as `load_checkpoint`.
    """
    file = open_weights(path)
    return _model(Cast(file, float8, multiplied) if float8 else file, services, {})


def load_vae(path: Path | str, services: Services) -> VaeHandle:
    """The VAE of a stand-alone file, a checkpoint or a diffusers folder's `vae`. Raises MissingFile, BadFile, UnknownModel."""
    file = open_weights(path)
    vae = vae_in(file, services.device.compute_dtype("vae", services.settings))
    if vae is None:
        raise _unknown(file, "VAE")
    return vae


def vae_in(file: WeightFile, dtype: torch.dtype) -> VaeHandle | None:
    """The autoencoder in a file, of whatever make; those with marks of their own are asked first."""
    makes = (asymmetric, consistency, tiny, residual, seedvr2, wan, flux2, kl)
    return next((vae for make in makes if (vae := make.from_file(file, dtype)) is not None), None)


def load_tiny_vae(name: str, services: Services) -> VaeHandle:
    """The tiny autoencoder of that name (see codecs.tiny.spec.LATENTS) from its two files in vae_approx. Raises MissingFile, BadFile."""
    files = []
    for half in ("encoder", "decoder"):
        known = (f for f in services.folders.list("vae_approx") if Path(f).name.startswith(f"{name}_{half}."))
        files.append(open_weights(services.folders.find_or_raise("vae_approx", next(known, f"{name}_{half}.safetensors"))))
    return tiny.from_pair(files[0], files[1], name, services.device.compute_dtype("vae", services.settings))


def load_text_encoder(path: Path | str, services: Services, type: str = UNSAID) -> TextEncoder:
    """The text encoder of a file or of a folder's `text_encoder`, or all that a checkpoint holds. Raises as `load_text_encoders`."""
    return load_text_encoders([path], services, type)


def load_text_encoders(paths: Sequence[Path | str], services: Services, type: str = UNSAID) -> TextEncoder:
    """Text encoders from any number of files, in any order, heard together as models of the family that `type` names hear them.

    Raises as `load_vae`; NotInstalled for a type whose family is not there, BadInput for files that hold other encoders than it reads.
    """
    asked = joiners_of(type)
    found = [encoder for path in paths for encoder in _text_encoders(Path(path), services)]
    clip = next((clip for joiner in asked if (clip := joiner.join(found)) is not None), None)
    if clip is None and type == UNSAID:
        clip = _usual(found) or (found[0] if len(found) == 1 else None)
    if clip is not None:
        return clip
    held = " and ".join(f"{encoder.title} ({encoder.width} wide)" for encoder in found)
    names = " and ".join(Path(path).name for path in paths)
    reads = "; ".join(f"{joiner.title} reads {joiner.reads}" for joiner in asked)
    raise BadInput(
        f"{names} hold{'s' if len(paths) == 1 else ''} {held}; {reads}.", hint="Choose the files and the type that belong to the model."
    )


def joiners_of(type: str) -> list[Joiner]:
    """Those that answer to a loader's `type`. Raises NotInstalled for a type whose family is not there."""
    asked = [joiner for joiner in joiners() if type in joiner.types]
    if not asked and type != UNSAID:
        raise NotInstalled(
            f"Text encoders of type {type}: this model family is not installed yet.",
            hint=f"Installed are {', '.join(sorted({word for joiner in joiners() for word in joiner.types}))}.",
        )
    return asked


def joiners() -> tuple[Joiner, ...]:
    """How text encoders can be heard together: what the families declare, each once."""
    return tuple(dict.fromkeys(family.text for family in shelf() if family.text is not None))


def _heard(encoders: Sequence[SingleEncoder], model: ModelHandle | None) -> TextEncoder | None:
    """The encoders that came with a model, as its family hears them."""
    joiner: Joiner | None = getattr(model.family, "text", None) if model is not None else None
    clip = joiner.join(encoders) if joiner is not None and encoders else None
    return clip or _usual(encoders) or next(iter(encoders), None)


def _usual(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    """The encoders as one, where nobody says for which models."""
    branches = frozenset(encoder.branch for encoder in encoders)
    return next((clip for j in joiners() if branches in j.usual and (clip := j.join(encoders)) is not None), None)


def _text_encoders(path: Path, services: Services, tokenizer: Path | None = None) -> list[SingleEncoder]:
    """Every text encoder in a file or folder; at least one."""
    file = open_weights(path)
    found = text_encoders(_around(file, services, path, tokenizer))
    if not found:
        raise _unknown(file, "text encoder")
    return found


def _around(file: WeightFile, services: Services, folder: Path | None = None, tokenizer: Path | None = None) -> Found:
    """A file, and what a configuration in its folder says of the text encoder it holds."""
    config = folder / "config.json" if folder is not None and folder.is_dir() else None
    said = read_json(config) if config is not None and config.is_file() else {}
    dtype = services.device.compute_dtype("text_encoder", services.settings)
    return Found(file, f"{identity(file)}#clip", dtype, services.folders, said, tokenizer)


def load_vision(path: Path | str, services: Services) -> VisionHandle:
    """The CLIP image encoder of a stand-alone file, an unCLIP checkpoint or a diffusers folder's `image_encoder`. Raises as `load_vae`."""
    file = open_weights(path)
    vision = _vision(file, services)
    if vision is None:
        raise _unknown(file, "CLIP image encoder")
    return vision


def _vision(file: WeightFile, services: Services) -> VisionHandle | None:
    """The image encoder in a file, if there is one. A folder's configuration says what shapes do not."""
    config = file.path.parent / "config.json"
    said = read_json(config) if config.is_file() and file.path.name.startswith(("model.", "pytorch_model.")) else {}
    heads, activation = said.get("num_attention_heads"), said.get("hidden_act")
    quick = activation == "quick_gelu" if isinstance(activation, str) else None
    dtype = services.device.compute_dtype("text_encoder", services.settings)
    heads = heads if isinstance(heads, int) else None
    return siglip.from_file(file, dtype, heads) or vision_spec.from_file(file, dtype, heads, quick)


def load_diffusers_folder(path: Path | str, services: Services) -> Loaded:
    """A model in the diffusers layout: `unet` or `transformer`, `vae`, `text_encoder` and its like, and `scheduler` for what shapes cannot
    tell.

    Raises MissingFile when there is no net, and as `load_checkpoint`.
    """
    path = Path(path)
    net = next((path / name for name in NETS if (path / name).is_dir()), None)
    if net is None:
        has = ", ".join(sorted(p.name for p in path.iterdir() if p.is_dir())) if path.is_dir() else "nothing"
        raise MissingFile(
            f"There is no folder unet or transformer in {path.name} (it has {has}).",
            hint="The folder is incomplete: fetch it again.",
            file=path,
        )
    file = _with_statistics(_with_conditioner(open_weights(net), path), path)
    model = _model(file, services, _scheduled(path / "scheduler" / "scheduler_config.json"))
    vae = load_vae(path / "vae", services) if (path / "vae").is_dir() else None
    clips = [
        clip
        for number in ("", "_2", "_3", "_4")
        if (path / f"text_encoder{number}").is_dir()
        for clip in _text_encoders(path / f"text_encoder{number}", services, _folder(path / f"tokenizer{number}"))
    ]
    vision = load_vision(path / "image_encoder", services) if (path / "image_encoder").is_dir() else None
    return Loaded(model, _heard(clips, model), vae, _unmatched(file, (model,)), vision)


def _folder(path: Path) -> Path | None:
    return path if path.is_dir() else None


def _with_conditioner(file: WeightFile, folder: Path) -> WeightFile:
    """The net's file, and beside it what makes its conditioning of a text."""
    if not (folder / CONDITIONER).is_dir():
        return file
    made = open_weights(folder / CONDITIONER)
    return _joined(file, Renamed(made, {f"{CONDITIONER}.{key}": key for key in made}))


def _with_statistics(file: WeightFile, folder: Path) -> WeightFile:
    """The UNet's file, and beside it what embeddings (unCLIP) or latents are normalised by, under the names single files have for it."""
    if (folder / "image_normalizer").is_dir():
        names = {"noise_augmentor.data_mean": "mean", "noise_augmentor.data_std": "std"}
        return _joined(file, Renamed(open_weights(folder / "image_normalizer"), names))
    config = folder / "vae" / "config.json"
    said = read_json(config) if config.is_file() else {}
    mean, deviation = said.get("latents_mean"), said.get("latents_std")
    if isinstance(mean, list) and isinstance(deviation, list):
        return _joined(file, Values(config, {"edm_mean": torch.tensor(mean), "edm_std": torch.tensor(deviation)}))
    return file


def _joined(file: WeightFile, more: WeightFile) -> WeightFile:
    joined = ShardedFile(file.path, {**dict.fromkeys(file, file), **dict.fromkeys(more, more)})
    joined.metadata = file.metadata
    return joined


def _scheduled(config: Path) -> dict[str, str]:
    """What a folder's scheduler configuration says in the words that a family's `noise` takes."""
    said = read_json(config) if config.is_file() else {}
    facts = {"zero_snr": "true"} if said.get("rescale_betas_zero_snr") is True else {}
    if isinstance(said.get("prediction_type"), str):
        facts["prediction_type"] = said["prediction_type"]
    if isinstance(said.get("shift"), int | float):
        facts["shift"] = str(said["shift"])
    if str(said.get("_class_name", "")).startswith("EDM"):
        facts |= {f"edm_{key}": str(said[key]) for key in ("sigma_min", "sigma_max") if isinstance(said.get(key), int | float)}
    return facts


def recognised(file: WeightFile, families: Iterable[Family] | None = None) -> tuple[Family, Any, WeightFile]:
    """The one family whose net a file holds, the net's sizes, and the file under the net's names. Reads the header alone.

    Raises UnknownModel, and BadFile where weights are missing or contradict each other.
    """
    families = tuple(shelf() if families is None else families)
    named = _under_net_names(file, families)
    family = recognise(named, families)
    try:
        return family, family.sizes(named), named
    except MALFORMED as error:
        raise _incomplete(file, family, error) from error


def _incomplete(file: WeightFile, family: Family, error: Exception) -> BadFile:
    """What is wrong with a file that was recognised."""
    what = f"{file.path.name} looks like a {family.name} model, but"
    if isinstance(error, KeyError):
        return BadFile(f"{what} the weight {error.args[0]} is missing.", hint="The file is incomplete: fetch it again.", file=file.path)
    text = f"{what} its shapes contradict each other ({error})."
    return BadFile(text, hint="The file is damaged or of an unknown variant.", file=file.path)


def _model(file: WeightFile, services: Services, facts: dict[str, str]) -> ModelHandle:
    if wished():
        file = Multiplied(file, wished())
    try:
        family, sizes, named = recognised(file)
    except UnknownModel as error:
        raise _unknown(file, "diffusion model") from error
    try:
        _check(family, sizes, named)
    except MALFORMED as error:
        raise _incomplete(file, family, error) from error
    stored = torch.bfloat16 if family.wide else stored_in(named)
    dtype = services.device.compute_dtype("unet", services.settings, stored)
    loadable = Loadable(f"{identity(file)}#unet", functools.partial(family.build, sizes), Views(named), dtype=dtype)
    noise = family.noise({**family.probe(loadable.source), **_said(file), **facts})
    fitted = family if family.latent_of is None else family.with_latent(family.latent_of(sizes))
    model = ModelHandle(loadable, fitted, sizes, noise, taps=family.taps)
    return compiled(model, "inductor", services.folders.user) if services.settings and services.settings.compile else model


def _under_net_names(file: WeightFile, families: Iterable[Family]) -> WeightFile:
    """The file's diffusion part under the names of our nets, and what stands beside it that a signature asks for."""
    families = tuple(families)
    asked = (key for family in families for key in (*family.signature.has, *family.signature.lacks, *family.beside))
    beside = {key: key for key in asked if key in file}
    prefix = next((prefix for prefix in PREFIXES if sum(key.startswith(prefix) for key in file) >= FEW), "")
    inside = {key[len(prefix) :]: key for key in file if key.startswith(prefix)} if prefix else {key: key for key in file}
    own = any(all(key in inside for key in family.signature.has) for family in families)
    for spelling in () if own else dict.fromkeys(family.from_diffusers for family in families):
        names = spelling(inside)
        if any(family.from_diffusers is spelling and all(key in names for key in family.signature.has) for family in families):
            return Renamed(file, beside | {name: _within(origin, inside) for name, origin in names.items()})
    return Renamed(file, beside | inside) if prefix else file


def _within(origin: Origin, inside: Mapping[str, str]) -> Origin:
    """A place among the names of a part of a file, as a place in the file."""
    return inside[origin] if isinstance(origin, str) else tuple(replace(piece, key=inside[piece.key]) for piece in origin)


def _said(file: WeightFile) -> dict[str, str]:
    """What the file says of itself: metadata of the model spec convention, and marker keys of v-prediction models."""
    facts = {}
    if "modelspec.prediction_type" in file.metadata:
        facts["prediction_type"] = file.metadata["modelspec.prediction_type"]
    if "v_pred" in file:
        facts["prediction_type"] = "v"
    if "ztsnr" in file:
        facts["zero_snr"] = "true"
    for name in ("sigma_min", "sigma_max"):  # CosXL
        if f"edm_vpred.{name}" in file:
            facts[f"edm_{name}"] = str(float(file.tensor(f"edm_vpred.{name}")))
    return facts


def _check(family: Family, sizes: Any, header: Header) -> None:
    """Every weight the net asks for is there in its shape. Raises KeyError for a missing one, ValueError for a wrong shape."""
    with torch.device("meta"):
        net = family.build(sizes)
    for name, parameter in net.named_parameters():
        if header[name].shape != tuple(parameter.shape):
            raise ValueError(f"{name} has the shape {list(header[name].shape)}, expected {list(parameter.shape)}")


def _unmatched(file: WeightFile, handles: Iterable[ModelHandle | SingleEncoder | VaeHandle | VisionHandle | None]) -> tuple[str, ...]:
    """The file's keys that belong to none of the parts and are not known to be needless."""
    used: set[str] = set()
    for handle in handles:
        if handle is not None and isinstance(handle.loadable.source, Views):
            used.update(_file_keys(handle.loadable.source.file, file))
    return tuple(key for key in file if key not in used and not NOT_WEIGHTS.fullmatch(key))


def _file_keys(view: WeightFile, file: WeightFile) -> Iterable[str]:
    """The keys of `file` behind a view on it."""
    view = view.file if isinstance(view, Multiplied) else view
    if view is file:
        return file
    if isinstance(view, Renamed):
        return view.used()
    return [part.key for part in getattr(view, "parts", {}).values()]


def _unknown(file: WeightFile, wanted: str) -> UnknownModel:
    """Say what the file seems to be instead."""
    known = name_of(file)
    if known is None:
        text = f"{file.path.name} holds no known {wanted}: its {len(file)} tensors are named {sample_of(file)}."
        return UnknownModel(text, hint="Check that the file is of the right kind.", file=file.path)
    if known.family and wanted == "diffusion model":
        text = f"{file.path.name} is {known.what} of no kind that is known here: the family is not installed yet, or weights are missing."
        return UnknownModel(text, hint="docs/systems.md lists what works; fetch the file again if it should.", file=file.path)
    return UnknownModel(f"{file.path.name} is {known.what}, not a {wanted}.", hint="Load it with the node for its kind.", file=file.path)
