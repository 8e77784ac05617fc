"""Training an adapter (LoRA, LoHa, LoKr, OFT) on a few latents: the weights of the model stay as they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from backend.base.errors import BadInput, OutOfMemory
from backend.diffusion.batching import repeated
from backend.diffusion.conditioning import Conditioning
from backend.diffusion.denoiser import Denoiser, cast
from backend.diffusion.handle import ModelHandle
from backend.diffusion.noise import broadcast
from backend.nn.layers import Conv2d, Layer, Linear
from backend.weights import lora
from backend.weights.adapters.kinds import Adapter
from backend.weights.adapters.read import read_adapters
from backend.weights.held import Held
from backend.weights.slot import materialise

LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "MSE": F.mse_loss, "L1": F.l1_loss, "Huber": F.huber_loss, "SmoothL1": F.smooth_l1_loss,
}  # fmt: skip
OPTIMIZERS: Mapping[str, Any] = {
    "AdamW": torch.optim.AdamW, "Adam": torch.optim.Adam, "SGD": torch.optim.SGD, "RMSprop": torch.optim.RMSprop,
}  # fmt: skip
ALGORITHMS = ("LoRA", "LoHa", "LoKr", "OFT")
PREFIX = "diffusion_model."


@dataclass(frozen=True)
class Plan:
    """How to train. `steps` counts updates; each sees `batch` latents `accumulate` times."""

    steps: int = 16
    batch: int = 1
    accumulate: int = 1
    rate: float = 5e-4
    rank: int = 8
    algorithm: str = "LoRA"
    optimizer: str = "AdamW"
    loss: str = "MSE"
    seed: int = 0
    dtype: torch.dtype = torch.float32
    checkpointed: bool = True


@dataclass(frozen=True)
class Trained:
    """The adapter as a file has it, float32 on the CPU, and the loss of every step."""

    tensors: dict[str, Tensor]
    losses: list[float]


class Changed:
    """A slot that answers with a weight and, differentiably, what an adapter adds to it."""

    def __init__(self, weight: Tensor, adapter: Adapter | None) -> None:
        self.weight, self.adapter = weight, adapter

    def fetch(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        if self.adapter is None:
            return self.weight.to(dtype)
        whole = self.weight.float()
        return (whole + self.adapter.change(whole)).to(dtype)


def train(
    model: ModelHandle, latents: Tensor, positive: Conditioning, plan: Plan, device: torch.device,
    *, on_step: Callable[[int, float], None] = lambda step, loss: None, begin: Mapping[str, Tensor] | None = None,
) -> Trained:  # fmt: skip
    """Teach an adapter for `model` to denoise `latents` [N, C, ...] under their texts (one, or one for each).

    The loss compares what the net says with what it should say (noise, v or velocity), at noise levels that are even in the model's clock.
    `begin` is an adapter of the same kind to go on with. `on_step` may raise, which ends the training.
    Raises BadInput for texts that do not fit the latents or an adapter that does not fit, OutOfMemory.
    """
    if len(positive) not in (1, len(latents)):
        text = f"There are {len(latents)} latents and {len(positive)} texts."
        raise BadInput(text, hint="Give one text for all, or one for each.", input="positive")
    with torch.inference_mode(False), torch.enable_grad():
        try:
            return _train(model, latents.clone(), positive, plan, device, on_step, begin)
        except torch.OutOfMemoryError as error:
            hint = "Use smaller pictures, a batch of 1, bf16, or gradient checkpointing."
            raise OutOfMemory("The device has too little memory to train with these settings.", hint=hint) from error


def _train(
    model: ModelHandle, latents: Tensor, positive: Conditioning, plan: Plan, device: torch.device,
    on_step: Callable[[int, float], None], begin: Mapping[str, Tensor] | None,
) -> Trained:  # fmt: skip
    random, own = (torch.Generator().manual_seed((plan.seed + i) % (1 << 64)) for i in range(2))  # so that every kind sees the same noise
    model = replace(model, loadable=replace(model.loadable, dtype=plan.dtype))
    net = model.loadable.build()
    state = started(net, plan, own, device)
    if begin is not None:
        _go_on(state, begin)
    adapters = {name: found for name, (_, found) in lora.Sides.of(model, None, read_adapters(Held(state))).model.items()}
    _furnish(net, model, adapters, plan.dtype, device)
    if plan.checkpointed:
        _checkpoint(net)
    learnt = [value for value in state.values() if value.requires_grad]
    optimizer = OPTIMIZERS[plan.optimizer](learnt, lr=plan.rate)
    clean = model.family.latent.process_in(latents).to(device, torch.float32)
    texts = [_inputs(model, entry, clean.shape, device, plan.dtype) for entry in positive]
    denoiser = Denoiser(model, net, {})
    losses = []
    for step in range(plan.steps):
        total = 0.0
        for _ in range(plan.accumulate):
            rows = torch.randint(len(clean), (plan.batch,), generator=random)
            share = torch.rand(plan.batch, generator=random)
            loss = _loss(model, denoiser, clean[rows], [texts[i if len(texts) > 1 else 0] for i in rows.tolist()], share, random, plan)
            (loss / plan.accumulate).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach()) / plan.accumulate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total)
        on_step(step, total)
    return Trained({key: value.detach().float().cpu() for key, value in state.items()}, losses)


def _loss(
    model: ModelHandle, denoiser: Denoiser, clean: Tensor, texts: Sequence[Mapping[str, Tensor]], share: Tensor, random: torch.Generator,
    plan: Plan,
) -> Tensor:  # fmt: skip
    """Over one batch, in the terms the net speaks in."""
    sigma = torch.tensor([float(model.noise.percent_to_sigma(float(s))) for s in share]).clamp(model.noise.sigma_min, model.noise.sigma_max)
    noise = torch.randn(clean.shape, generator=random).to(clean)
    a, b = (broadcast(part, clean).to(clean) for part in model.noise.prediction.blend(sigma))
    x = a * clean + b * noise
    same = all(text is texts[0] for text in texts) or all(
        [v.shape for v in text.values()] == [v.shape for v in texts[0].values()] for text in texts
    )
    parts = [range(len(clean))] if same else [range(i, i + 1) for i in range(len(clean))]
    losses = []
    for rows in parts:
        one = slice(rows.start, rows.stop)
        inputs = {key: torch.cat([repeated(texts[i][key], 1) for i in rows]) for key in texts[rows.start]}
        found = denoiser.apply(x[one], sigma[one], inputs)
        out = broadcast(model.noise.prediction.out(sigma[one]), found).to(found)
        wrong = (found - clean[one]) / out
        losses.append(LOSSES[plan.loss](wrong, torch.zeros_like(wrong)) * len(rows))
    return torch.stack(losses).sum() / len(clean)


def _inputs(model: ModelHandle, entry: Any, shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    tokens, options = entry
    cond = {**options, "cross_attn": tokens, "prompt_type": "positive"}
    made = cast(model.family.inputs([cond], model.sizes, (1, *shape[1:])), device, dtype)
    return {key: value.clone() for key, value in made.items()}


def _furnish(net: nn.Module, model: ModelHandle, adapters: Mapping[str, Adapter], dtype: torch.dtype, device: torch.device) -> None:
    """Hang a slot under every weight, with the patches the model has."""
    whole = model.leasable()
    for path, layer in net.named_modules():
        if isinstance(layer, Layer):
            for own, _ in layer.named_parameters(recurse=False):
                name = f"{path}.{own}" if path else own
                weight = materialise(whole.source[name], whole.deltas.get(name, ()), device, dtype).clone()
                layer.slots[own] = Changed(weight, adapters.get(name))


def _checkpoint(net: nn.Module) -> None:
    """Make every block of a list of blocks forget what it computed until it is needed again."""
    blocks = [block for module in net.modules() if isinstance(module, nn.ModuleList) for block in module]
    inner = {id(deep) for block in blocks for deep in block.modules() if deep is not block}
    for block in blocks:
        if id(block) not in inner:
            block.forward = _forgetting(block.forward)


def _forgetting(forward: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: checkpoint(forward, *args, use_reentrant=False, **options)


def started(net: nn.Module, plan: Plan, random: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    """An adapter that changes nothing yet, for every linear layer and convolution; what is learnt requires its gradient."""
    state: dict[str, Tensor] = {}
    for path, layer in net.named_modules():
        if isinstance(layer, Linear | Conv2d):
            for key, value in _START[plan.algorithm](tuple(layer.weight.shape), plan.rank, random).items():
                learnt = key != "alpha"
                state[f"{PREFIX}{path}.{key}"] = value.to(device).requires_grad_(learnt) if learnt else value
    return state


def _normal(*shape: int, random: torch.Generator, scale: float) -> Tensor:
    return torch.randn(shape, generator=random) * scale


def _lora(shape: Sequence[int], rank: int, random: torch.Generator) -> dict[str, Tensor]:
    rank = min(rank, shape[0], math.prod(shape[1:]))
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    ones = [1] * (len(shape) - 2)
    return {
        "lora_up.weight": torch.zeros(shape[0], rank, *ones),
        "lora_down.weight": (torch.rand((rank, *shape[1:]), generator=random) * 2 - 1) * bound,
        "alpha": torch.tensor(float(rank)),
    }


def _loha(shape: Sequence[int], rank: int, random: torch.Generator) -> dict[str, Tensor]:
    rows, columns = shape[0], math.prod(shape[1:])
    return {
        "hada_w1_a": _normal(rows, rank, random=random, scale=0.1), "hada_w1_b": _normal(rank, columns, random=random, scale=1.0),
        "hada_w2_a": torch.zeros(rows, rank), "hada_w2_b": _normal(rank, columns, random=random, scale=0.1),
        "alpha": torch.tensor(float(rank)),
    }  # fmt: skip


def _lokr(shape: Sequence[int], rank: int, random: torch.Generator) -> dict[str, Tensor]:
    (o1, o2), (i1, i2) = (_factors(n) for n in shape[:2])
    return {"lokr_w1": _normal(o1, i1, random=random, scale=1.0), "lokr_w2": torch.zeros(o2, i2, *shape[2:])}


def _oft(shape: Sequence[int], rank: int, random: torch.Generator) -> dict[str, Tensor]:
    size = next(n for n in range(min(max(rank, 2), shape[0]), 0, -1) if shape[0] % n == 0)
    return {"oft_blocks": torch.zeros(shape[0] // size, size, size)}


def _factors(n: int) -> tuple[int, int]:
    """Two factors as near to each other as there are, the smaller first."""
    small = next(k for k in range(math.isqrt(n), 0, -1) if n % k == 0)
    return small, n // small


_START: Mapping[str, Callable[[Sequence[int], int, torch.Generator], dict[str, Tensor]]] = {
    "LoRA": _lora, "LoHa": _loha, "LoKr": _lokr, "OFT": _oft,
}  # fmt: skip


def _go_on(state: dict[str, Tensor], begin: Mapping[str, Tensor]) -> None:
    wrong = next((key for key in begin if key not in state or state[key].shape != begin[key].shape), None)
    if wrong is not None or len(begin) != len(state):
        text = f"The LoRA to go on with is of another kind or rank: {wrong or 'it has fewer weights'}."
        raise BadInput(text, hint="Choose the algorithm and rank that it was trained with, or none.", input="existing_lora")
    with torch.no_grad():
        for key, value in begin.items():
            state[key].copy_(value)
