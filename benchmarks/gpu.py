"""Whole pictures on a GPU: SD 1.5, SDXL and 12 B of Flux's shapes, against diffusers eager and compiled; SDXL in 6 and 3 GB.

    python -m benchmarks.gpu [--work "SD 1.5" SDXL "12 B transformer"] [--rounds 3] [--tiny]

Random weights, text encodings given; from noise to pixels on the CPU: 30 steps of Euler's method with guidance (the transformer without),
and the autoencoder. Wall milliseconds, the best of the rounds, all four in turns in one process. The machine's peak is its best rate in a
product of two square matrices of bfloat16. Operations are counted in the reference's net. `--tiny` runs all of this with nets of a few
thousand values on the CPU, two steps each: it proves that the script works, and gives no figures.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from backend.base.config import Settings
from backend.codecs.kl.net import AutoencoderKL, KLSizes
from backend.codecs.kl.spec import VaeHandle
from backend.diffusion.handle import ModelHandle
from backend.diffusion.ksample import ksample
from backend.diffusion.patches.compiled import compiled
from backend.families import Family
from backend.families.flux import DEV
from backend.families.flux.net import FluxNet, FluxSizes
from backend.families.sd import SD1_FAMILY
from backend.families.sd.unet import UNet, UNetSizes
from backend.families.sdxl import BASE
from backend.memory.device import DeviceFacts, probe
from backend.memory.kernels import Kernels
from backend.memory.pool import Loadable, Pool
from backend.memory.tune import tune
from backend.nn import eight
from backend.weights.file import Views
from backend.weights.held import Held
from backend.weights.quant.cast import Cast
from benchmarks.recognise import SDXL
from benchmarks.table import Row, report

STEPS, FEW = 30, 2
GIB = 1 << 30
GOALS = {"diffusers eager": "≥ 1.3 ×", "diffusers compiled": "≥ 1.05 ×"}
_NOISE = 1 << 22  # random values that all weights are cut from
Net = Callable[[Tensor, Tensor], Tensor]
"""(x, t) -> what the net answers."""


@dataclass(frozen=True)
class Work:
    """One kind of picture: our net, the reference's with the same shapes, and how it is asked."""

    name: str
    family: Family
    build: Callable[[], nn.Module]
    sizes: Any
    theirs: Callable[[], nn.Module]
    ask: Callable[[nn.Module, Tensor, Tensor, torch.dtype], Tensor]
    latent: tuple[int, ...]
    cond: tuple[Tensor, dict[str, Any]]
    cfg: float
    vae: KLSizes
    dtype: torch.dtype = torch.float16
    budgets: tuple[int, ...] = ()
    scheduler: str = "normal"
    steps: int = STEPS
    narrow: bool = False
    """Whether products in eight bits are measured too."""


@dataclass
class Run:
    """What makes one picture; milliseconds of each round."""

    go: Callable[[], Tensor]
    took: list[float] = field(default_factory=list)


def weights(net: Callable[[], nn.Module], dtype: torch.dtype) -> dict[str, Tensor]:
    """Random weights for a net of ours, in main memory."""
    noise = torch.randn(_NOISE, generator=torch.Generator().manual_seed(0)).mul_(0.02).to(dtype)
    with torch.device("meta"):
        shapes = {name: p.shape for name, p in net().named_parameters()}

    def cut(shape: torch.Size) -> Tensor:
        count = shape.numel()
        return (noise[:count].clone() if count <= _NOISE else noise.repeat(-(-count // _NOISE))[:count]).view(shape)

    return {name: cut(shape) for name, shape in shapes.items()}


def reference(make: Callable[[], nn.Module], device: torch.device, dtype: torch.dtype) -> nn.Module:
    """One of the reference's nets with random weights, made where it runs."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            net = make()
        net = net.to_empty(device=device).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
    for parameter in net.parameters():
        parameter.normal_(0, 0.02)
    for name, buffer in net.named_buffers():
        if not buffer.is_floating_point():
            buffer.zero_()
        else:
            buffer.normal_(0, 0.02) if "freq" in name else buffer.zero_()
    return net


def euler(net: Net, work: Work, sigmas: Tensor, device: torch.device) -> Tensor:
    """The reference's loop as its pipelines run it: the sample stays on the device."""
    x = torch.randn(work.latent, generator=torch.Generator().manual_seed(0)).to(device, work.dtype) * sigmas[0]
    rows = 2 if work.cfg > 1 else 1
    for i in range(work.steps):
        t = torch.full((rows * len(x),), float(sigmas[i]), device=device)
        answer = net(torch.cat([x] * rows), t)
        if rows == 2:
            cond, uncond = answer.chunk(2)
            answer = uncond + work.cfg * (cond - uncond)
        x = x + answer * (sigmas[i + 1] - sigmas[i])
    return x


def measure(work: Work, facts: DeviceFacts, rounds: int, peak: float, tiny: bool, compilers: bool) -> list[Row]:
    """The rows of one kind of picture."""
    device, ours = facts.device, weights(work.build, work.dtype)
    vae_source = weights(lambda: AutoencoderKL(work.vae), torch.bfloat16)
    vae = VaeHandle(Loadable(f"{work.name}#vae", lambda: AutoencoderKL(work.vae), vae_source, dtype=facts.compute_dtype("vae")), work.vae)
    model = ModelHandle(Loadable(f"{work.name}#unet", work.build, ours, dtype=work.dtype), work.family, work.sizes, work.family.noise({}))
    text = [[work.cond[0], work.cond[1]]]

    def picture(model: ModelHandle, pool: Pool) -> Tensor:
        latent = {"samples": torch.zeros(work.latent)}
        done = ksample(model, 0, work.steps, work.cfg, "euler", work.scheduler, text, text, latent, pool=pool)
        return vae.decode(done["samples"].nan_to_num(), pool)

    with torch.inference_mode():
        pool = Pool(device)
        runs = {"ours": Run(partial(picture, model, pool))}
        if compilers:
            runs["ours compiled"] = Run(partial(picture, compiled(model, "eager" if tiny else "inductor"), pool))
        if work.narrow and (tiny or eight.multiplies(device)):
            file = Held({name: w.to(torch.float8_e4m3fn) if w.ndim > 1 else w for name, w in ours.items()}, work.name)
            loadable = replace(
                model.loadable, key=f"{work.name}#unet in float8", source=Views(Cast(file, torch.float8_e4m3fn, multiplied=True))
            )
            runs["ours, products in float8"] = Run(partial(picture, replace(model, loadable=loadable), pool))
        operations = _references(work, device, runs, tiny, compilers)
        for turn in range(rounds + 1):
            for run in runs.values():
                took = milliseconds(run.go, device)
                if turn:  # the first brings weights, compiles and measures kernels
                    run.took.append(took)
        rows = _compared(work, {name: min(run.took) for name, run in runs.items()}, operations, peak)
        pool.free()
        runs.clear()
        gc.collect()
        return rows + [little(work, picture, model, device, budget) for budget in work.budgets]


def _references(work: Work, device: torch.device, runs: dict[str, Run], tiny: bool, compilers: bool) -> float:
    """Add the reference's runs; returns the operations of a picture's nets."""
    from benchmarks.peer import AutoencoderKL as TheirVae

    net = reference(work.theirs, device, work.dtype)
    make: Any = TheirVae
    decoder: Any = reference(partial(make, **their_vae(work.vae)), device, torch.bfloat16)
    sigmas = torch.linspace(1, 0, work.steps + 1)

    def picture(net: nn.Module) -> Tensor:
        x = euler(lambda x, t: work.ask(net, x, t, work.dtype), work, sigmas, device)
        pixels: Tensor = decoder.decode(x.nan_to_num().to(torch.bfloat16)).sample
        return (pixels.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu()

    runs["diffusers eager"] = Run(partial(picture, net))
    if compilers:
        runs["diffusers compiled"] = Run(partial(picture, torch.compile(net, backend="eager" if tiny else "inductor")))  # type: ignore[arg-type]
    rows = 2 if work.cfg > 1 else 1
    x, t = torch.zeros(rows * work.latent[0], *work.latent[1:], device=device, dtype=work.dtype), torch.ones(rows, device=device)
    with FlopCounterMode(display=False) as counter:
        work.ask(net, x, t, work.dtype)
    return float(counter.get_total_flops() * work.steps)


def _compared(work: Work, took: Mapping[str, float], operations: float, peak: float) -> list[Row]:
    best = min(took[name] for name in took if name in ("ours", "ours compiled"))  # as exact as the reference
    size = f"{work.latent[-1] * work.vae.factor} px, {work.steps} steps, {str(work.dtype).removeprefix('torch.')}"
    rows = []
    for name, ms in took.items():
        of = f", {operations / ms * 1e3 / 1e12:.3g} TFLOP/s = {operations / ms * 1e3 / peak:.1%} of a plain product's"
        rows.append(Row(f"{work.name}, {size}: {name}", f"{ms:,.0f} ms{of}"))
    for name, goal in GOALS.items():
        if name in took:
            rows.append(Row(f"{work.name}: faster than {name} by", f"{took[name] / best:.2f} ×", goal))
    return rows


def little(work: Work, picture: Callable[[ModelHandle, Pool], Tensor], model: ModelHandle, device: torch.device, budget: int) -> Row:
    """A picture with so many bytes for weights and activations."""
    pool = Pool(device, budget)
    picture(model, pool)
    took = milliseconds(lambda: picture(model, pool), device)
    streamed = [move for move in pool.moves if move.what == "streamed"]
    kept = next((move for move in reversed(pool.moves) if "kept" in move.what and move.key == model.loadable.key), None)
    told = f"{streamed[-1].nbytes / 1e9:.3g} GB travelled, {streamed[-1].why}" if streamed else "nothing had to travel"
    pool.free()
    size = f"{budget / GIB:.0f} GB" if budget >= GIB else f"{budget / 1e6:.1f} MB"
    return Row(f"{work.name} within {size}", f"{took:,.0f} ms; {kept.what if kept else 'nothing kept'}; {told}")


def milliseconds(go: Callable[[], Any], device: torch.device) -> float:
    """Of one call, until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    go()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - begun) * 1e3


def product_peak(device: torch.device, side: int) -> float:
    """Operations a second of a product of two bfloat16 matrices, the best of several."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / min(milliseconds(lambda: a @ b, device) for _ in range(20)) * 1e3


def their_vae(sizes: KLSizes) -> dict[str, Any]:
    """The arguments of the reference's autoencoder."""
    levels = len(sizes.channel_mult)
    widths = [sizes.channels * m for m in sizes.channel_mult]
    return {
        "in_channels": 3, "out_channels": 3, "latent_channels": sizes.z_channels, "block_out_channels": widths, "layers_per_block": 2,
        "down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": sizes.groups, "use_quant_conv": True, "use_post_quant_conv": True,
    }  # fmt: skip


def ask_unet(net: nn.Module, x: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
    """The reference's UNet, with a text and (for XL) pooled text and sizes."""
    config: Any = net.config
    text = x.new_zeros(len(x), 77, config.cross_attention_dim)
    more: dict[str, Any] = {}
    if config.addition_embed_type:
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        more["added_cond_kwargs"] = {"text_embeds": x.new_zeros(len(x), pooled), "time_ids": x.new_full((len(x), 6), 1024.0)}
    out: Tensor = net(x, t * 999, encoder_hidden_states=text, **more).sample
    return out


def ask_flux(net: nn.Module, x: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
    """The reference's transformer, on latents in patches of 2 x 2."""
    config: Any = net.config
    b, c, h, w = x.shape
    tokens = x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, c * 4)
    ids = torch.zeros(h // 2, w // 2, 3, device=x.device)
    ids[..., 1] += torch.arange(h // 2, device=x.device)[:, None]
    ids[..., 2] += torch.arange(w // 2, device=x.device)
    told = {"pooled_projections": x.new_zeros(b, config.pooled_projection_dim), "guidance": torch.full((b,), 3.5, device=x.device)}
    text, places = x.new_zeros(b, 512, config.joint_attention_dim), torch.zeros(512, 3, device=x.device)
    answer: Any = net(tokens, text, timestep=t, img_ids=ids.view(-1, 3), txt_ids=places, **told)
    return answer.sample.view(b, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)  # type: ignore[no-any-return]


def works(tiny: bool) -> list[Work]:
    """The kinds of pictures, as published or tiny."""
    from benchmarks.peer import FluxTransformer2DModel, UNet2DConditionModel

    levels = ["CrossAttnDownBlock2D", "CrossAttnUpBlock2D"]
    if tiny:
        small: dict[str, Any] = {"channels": (32, 64), "res_blocks": (1, 1), "depth_in": (1, 1), "depth_middle": 1}
        small |= {"depth_out": (1,) * 4, "context": 32}
        sd, xl = UNetSizes(**small, heads=4), UNetSizes(**small, heads=None, head_dim=16, linear=True, adm=32 + 6 * 256)
        flux = FluxSizes(width=128, heads=1, hidden=128, doubles=1, singles=1, context=32, pooled=32)
        shape = {"block_out_channels": (32, 64), "layers_per_block": 1}
        shape |= {"down_block_types": levels[:1] * 2, "up_block_types": levels[1:] * 2}
        sd_theirs = shape | {"cross_attention_dim": 32, "attention_head_dim": 4}
        xl_theirs = sd_theirs | {"attention_head_dim": (2, 4)}
        flux_theirs = {"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 128, "num_attention_heads": 1,
            "joint_attention_dim": 32, "pooled_projection_dim": 32}  # fmt: skip
        vae4, vae16 = (KLSizes(16, (1, 1), z_channels=n, embed_dim=n) for n in (4, 16))
        sides, pooled, budgets = (8, 8, 8), 32, (1 << 20, 1 << 19)
    else:
        sd, xl, flux = UNetSizes(), SDXL, FluxSizes()
        sd_theirs = {"cross_attention_dim": 768, "attention_head_dim": 8}
        xl_theirs = {"cross_attention_dim": 2048, "attention_head_dim": (5, 10, 20), "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", levels[0], levels[0]), "up_block_types": (levels[1], levels[1], "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10)}  # fmt: skip
        flux_theirs = {}
        vae4, vae16 = KLSizes(), KLSizes(z_channels=16, embed_dim=16)
        sides, pooled, budgets = (64, 128, 128), 1280, (6 * GIB, 3 * GIB)
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": pooled + 6 * 256, "use_linear_projection": True}  # fmt: skip
    told = {"pooled_output": torch.zeros(1, pooled)}
    unet: Any = UNet2DConditionModel
    transformer: Any = FluxTransformer2DModel
    return [
        Work("SD 1.5", SD1_FAMILY, lambda: UNet(sd), sd, partial(unet, **sd_theirs), ask_unet, (1, 4, sides[0], sides[0]),
            (torch.zeros(1, 77, sd.context), {}), 7.0, vae4),
        Work("SDXL", BASE, lambda: UNet(xl), xl, partial(unet, **xl_theirs, **added), ask_unet, (1, 4, sides[1], sides[1]),
            (torch.zeros(1, 77, xl.context), told), 7.0, vae4, budgets=budgets),
        Work("12 B transformer", DEV, lambda: FluxNet(flux), flux, partial(transformer, guidance_embeds=True, **flux_theirs), ask_flux,
            (1, 16, sides[2], sides[2]), (torch.zeros(1, 512, flux.context), {"pooled_output": torch.zeros(1, flux.pooled)}), 1.0, vae16,
            torch.bfloat16, scheduler="simple", narrow=True),
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", nargs="+", metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--no-compilers", dest="compilers", action="store_false")
    args = parser.parse_args(argv)
    if not args.tiny and not torch.cuda.is_available():
        report([Row("whole pictures on a GPU", "there is no GPU here, so nothing was measured")])
        return
    settings = Settings(memory="cpu" if args.tiny else "auto")
    tune(settings)
    facts = probe(settings)
    Kernels(settings, facts.device, None).start()
    peak = product_peak(facts.device, 128 if args.tiny else 8192)
    if args.tiny:
        report([Row("tiny nets on the CPU", "they prove that the script works and say nothing about speed, so there are no figures")])
    else:
        report([Row(f"{facts.name}: product of two matrices in bfloat16", f"{peak / 1e12:.0f} TFLOP/s")])
    for work in works(args.tiny):
        if args.work is None or work.name in args.work:
            work = replace(work, steps=FEW, dtype=torch.float32) if args.tiny else work
            try:
                rows = measure(work, facts, args.rounds, peak, args.tiny, args.compilers)
                report([Row(row.what, "ran") for row in rows] if args.tiny else rows)
            except torch.OutOfMemoryError as error:
                report([Row(work.name, f"does not fit into this GPU together with the reference: {str(error).split('. ')[0]}")])


if __name__ == "__main__":
    main()
