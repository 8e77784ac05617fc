"""Adapters against their formulas written out, against diffusers' own UNet and key names, and against the convolutions they stand for."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadFile, BadInput
from backend.diffusion.handle import ModelHandle
from backend.encoders.clip.handle import ClipHandle
from backend.encoders.clip.net import ClipSizes, ClipText
from backend.encoders.clip.spec import from_checkpoint
from backend.families import kin
from backend.families.sd import SD1_FAMILY
from backend.families.sd.names import from_diffusers, to_diffusers
from backend.families.sd.unet import UNet, UNetSizes
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import init_weights
from backend.weights.adapters.kinds import LowRank
from backend.weights.adapters.names import resolve, unet_aliases
from backend.weights.adapters.read import Target, read_adapters
from backend.weights.file import Entry
from backend.weights.lora import apply
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors

SIZES = UNetSizes(channels=(32, 64), res_blocks=(1, 1), depth_in=(1, 1), depth_middle=1, depth_out=(1, 1, 1, 1), context=24, heads=8)
BLOCK = "input_blocks.1.1.transformer_blocks.0"
RANK = 3


@functools.cache
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: value.clone() for name, value in init_weights(UNet(SIZES)).state_dict().items()}


def model() -> ModelHandle:
    return ModelHandle(Loadable("unet", lambda: UNet(SIZES), weights()), SD1_FAMILY, SIZES, SD1_FAMILY.noise({}))


@functools.cache
def text_weights() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return init_weights(ClipText(ClipSizes(width=64, layers=2, heads=1, mlp=96))).state_dict()


def clip() -> ClipHandle:
    source = {"cond_stage_model.transformer." + key: value for key, value in text_weights().items()}
    found = from_checkpoint(source, {key: Entry(tuple(value.shape), value.dtype, value.nbytes) for key, value in source.items()})
    assert found is not None
    return found


def saved(path: Path, tensors: dict[str, Tensor]) -> Any:
    save_safetensors(path / "adapter.safetensors", {key: value.contiguous() for key, value in tensors.items()})
    return open_weights(path / "adapter.safetensors")


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR) * 0.3


GENERATOR = torch.Generator().manual_seed(7)
LINEAR, CONV = f"{BLOCK}.attn1.to_q", "input_blocks.1.0.in_layers.2"


def patched_weight(path: Path, tensors: dict[str, Tensor], name: str, strength: float = 0.7) -> Tensor:
    """The weight a net finds in its slot when a file is applied."""
    found, _, report = apply(model(), None, saved(path, tensors), strength)
    assert found is not None and report.model == 1 and not report.unmatched
    with Pool("cpu").lease(found.leasable()) as net:
        layer: Any = net.get_submodule(name.rpartition(".")[0])
        value: Tensor = layer.get(name.rpartition(".")[2], torch.empty(0))
    return value


def close(got: Tensor, want: Tensor) -> bool:
    return got.shape == want.shape and bool((got - want).abs().max() < 1e-5)


def kohya(name: str) -> str:
    return "lora_unet_" + name.replace(".", "_")


def test_lora_is_alpha_over_rank_up_down(tmp_path: Path) -> None:
    up, down = rand(32, RANK), rand(RANK, 32)
    key = kohya(LINEAR)
    tensors = {f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down, f"{key}.alpha": torch.tensor(1.5)}
    got = patched_weight(tmp_path, tensors, f"{LINEAR}.weight")
    want = weights()[f"{LINEAR}.weight"].double()
    for r in range(RANK):
        want = want + 0.7 * (1.5 / RANK) * torch.outer(up[:, r], down[r]).double()
    assert close(got, want.float())
    assert not close(got, weights()[f"{LINEAR}.weight"])


def test_without_alpha_the_scale_is_one(tmp_path: Path) -> None:
    up, down = rand(32, RANK), rand(RANK, 32)
    got = patched_weight(
        tmp_path, {f"unet.{DIFFUSERS_LINEAR}.lora_B.weight": up, f"unet.{DIFFUSERS_LINEAR}.lora_A.weight": down}, f"{LINEAR}.weight"
    )
    assert close(got, weights()[f"{LINEAR}.weight"] + 0.7 * up @ down)


def convolutions(x: Tensor, w: Tensor, branch: Callable[[Tensor], Tensor], strength: float) -> Tensor:
    return F.conv2d(x, w, padding=1) + strength * branch(x)


@pytest.mark.parametrize("tucker", [False, True])
def test_locon_is_a_branch_of_convolutions(tmp_path: Path, tucker: bool) -> None:
    key, w = kohya(CONV), weights()[f"{CONV}.weight"]
    up = rand(32, RANK, 1, 1)
    down = rand(RANK, 32, 1, 1) if tucker else rand(RANK, 32, 3, 3)
    mid = rand(RANK, RANK, 3, 3)
    tensors = {f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down, f"{key}.alpha": torch.tensor(2.0)}
    got = patched_weight(tmp_path, tensors | ({f"{key}.lora_mid.weight": mid} if tucker else {}), f"{CONV}.weight")
    x = rand(1, 32, 6, 6)

    def branch(x: Tensor) -> Tensor:
        h = F.conv2d(F.conv2d(x, down), mid, padding=1) if tucker else F.conv2d(x, down, padding=1)
        return F.conv2d(h, up) * (2.0 / RANK)

    assert (F.conv2d(x, got, padding=1) - convolutions(x, w, branch, 0.7)).abs().max() < 1e-4


def test_loha_is_a_product_of_products(tmp_path: Path) -> None:
    key = kohya(LINEAR)
    a1, b1, a2, b2 = rand(32, 2), rand(2, 32), rand(32, 2), rand(2, 32)
    tensors = {
        f"{key}.hada_w1_a": a1,
        f"{key}.hada_w1_b": b1,
        f"{key}.hada_w2_a": a2,
        f"{key}.hada_w2_b": b2,
        f"{key}.alpha": torch.tensor(4.0),
    }
    got = patched_weight(tmp_path, tensors, f"{LINEAR}.weight")
    want = weights()[f"{LINEAR}.weight"].clone()
    for i in range(32):
        for j in range(32):
            want[i, j] += 0.7 * 2.0 * (a1[i] @ b1[:, j]) * (a2[i] @ b2[:, j])
    assert close(got, want)


def tucker_sum(t: Tensor, a: Tensor, b: Tensor) -> Tensor:
    out = torch.zeros(a.shape[1], b.shape[1], *t.shape[2:])
    for i in range(t.shape[0]):
        for j in range(t.shape[1]):
            out += torch.outer(a[i], b[j])[..., None, None] * t[i, j]
    return out


def test_loha_of_a_kernel_in_tucker_form(tmp_path: Path) -> None:
    key = kohya(CONV)
    parts = {f"hada_w{n}_{side}": rand(2, 32) for n in (1, 2) for side in "ab"} | {f"hada_t{n}": rand(2, 2, 3, 3) for n in (1, 2)}
    got = patched_weight(tmp_path, {f"{key}.{part}": value for part, value in parts.items()}, f"{CONV}.weight")
    first, second = (tucker_sum(parts[f"hada_t{n}"], parts[f"hada_w{n}_a"], parts[f"hada_w{n}_b"]) for n in (1, 2))
    assert close(got, weights()[f"{CONV}.weight"] + 0.7 * first * second)


def kronecker(first: Tensor, second: Tensor) -> Tensor:
    """Blocks of `second`, each times an entry of `first`."""
    rows = [torch.cat([first[i, j] * second for j in range(first.shape[1])], dim=1) for i in range(first.shape[0])]
    return torch.cat(rows, dim=0)


@pytest.mark.parametrize("factored", ["none", "second", "both"])
def test_lokr_is_a_kronecker_product(tmp_path: Path, factored: str) -> None:
    key = kohya(LINEAR)
    a1, b1, a2, b2 = rand(4, 2), rand(2, 8), rand(8, 3), rand(3, 4)
    parts: dict[str, Tensor] = {"alpha": torch.tensor(6.0)}
    parts |= {"lokr_w1_a": a1, "lokr_w1_b": b1} if factored == "both" else {"lokr_w1": a1 @ b1}
    parts |= {"lokr_w2": a2 @ b2} if factored == "none" else {"lokr_w2_a": a2, "lokr_w2_b": b2}
    got = patched_weight(tmp_path, {f"{key}.{part}": value for part, value in parts.items()}, f"{LINEAR}.weight")
    scale = 1.0 if factored == "none" else 6.0 / 3
    assert close(got, weights()[f"{LINEAR}.weight"] + 0.7 * scale * kronecker(a1 @ b1, a2 @ b2))


@pytest.mark.parametrize("form", ["whole", "factored", "tucker"])
def test_lokr_of_a_kernel(tmp_path: Path, form: str) -> None:
    key, first = kohya(CONV), rand(4, 4)
    if form == "whole":
        second = rand(8, 8, 3, 3)
        parts = {"lokr_w2": second}
    elif form == "factored":
        parts = {"lokr_w2_a": rand(8, 2), "lokr_w2_b": rand(2, 8 * 9)}
        second = (parts["lokr_w2_a"] @ parts["lokr_w2_b"]).reshape(8, 8, 3, 3)
    else:
        parts = {"lokr_t2": rand(2, 2, 3, 3), "lokr_w2_a": rand(2, 8), "lokr_w2_b": rand(2, 8)}
        second = tucker_sum(parts["lokr_t2"], parts["lokr_w2_a"], parts["lokr_w2_b"])
    got = patched_weight(tmp_path, {f"{key}.{part}": value for part, value in (parts | {"lokr_w1": first}).items()}, f"{CONV}.weight")
    assert close(got, weights()[f"{CONV}.weight"] + 0.7 * kronecker(first, second))


def test_differences_and_replacements(tmp_path: Path) -> None:
    value, bias = rand(32, 32, 3, 3), rand(32)
    assert close(patched_weight(tmp_path, {f"{kohya(CONV)}.diff": value}, f"{CONV}.weight"), weights()[f"{CONV}.weight"] + 0.7 * value)
    assert close(patched_weight(tmp_path, {f"{kohya(CONV)}.diff_b": bias}, f"{CONV}.bias"), weights()[f"{CONV}.bias"] + 0.7 * bias)
    assert close(patched_weight(tmp_path, {f"{kohya(CONV)}.set_weight": value}, f"{CONV}.weight"), value)
    norm = "input_blocks.1.0.in_layers.0"
    assert close(patched_weight(tmp_path, {f"{kohya(norm)}.w_norm": bias}, f"{norm}.weight"), weights()[f"{norm}.weight"] + 0.7 * bias)


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"unet.r": RANK, "unet.lora_alpha": 6}, 6 / RANK),
        ({"unet.lora_alpha": 6, "unet.alpha_pattern": {"attn1.to_q": 12, "attn2.to_q": 1}}, 12 / RANK),
        ({"unet.lora_alpha": 6, "unet.use_rslora": True}, 6 / RANK**0.5),
        ({"text_encoder.lora_alpha": 6}, 1.0),
    ],
)
def test_alpha_from_the_metadata_of_diffusers(tmp_path: Path, settings: dict[str, Any], scale: float) -> None:
    up, down = rand(32, RANK), rand(RANK, 32)
    tensors = {f"unet.{DIFFUSERS_LINEAR}.lora_B.weight": up, f"unet.{DIFFUSERS_LINEAR}.lora_A.weight": down}
    path = tmp_path / "a.safetensors"
    save_safetensors(path, tensors, {"lora_adapter_metadata": json.dumps(settings)})
    (adapter,) = read_adapters(open_weights(path)).by_target.values()
    assert isinstance(adapter, LowRank) and adapter.scale == pytest.approx(scale)


def test_dora_of_peft_is_by_row(tmp_path: Path) -> None:
    up, down, magnitude = rand(32, RANK, 1, 1), rand(RANK, 32, 3, 3), rand(1, 32, 1, 1).abs() + 0.5
    key = f"unet.{DIFFUSERS[f'{CONV}.weight'].removesuffix('.weight')}"
    tensors = {f"{key}.lora_B.weight": up, f"{key}.lora_A.weight": down, f"{key}.lora_magnitude_vector": magnitude}
    w = weights()[f"{CONV}.weight"]
    full = (w + (up.flatten(1) @ down.flatten(1)).reshape(w.shape)).flatten(1)
    want = (full / full.norm(dim=1, keepdim=True) * magnitude.reshape(-1, 1)).reshape(w.shape)
    assert close(patched_weight(tmp_path, tensors, f"{CONV}.weight", 1.0), want)


def test_oft_within_its_constraint(tmp_path: Path) -> None:
    """The file's alpha times the rows bounds the norm of Q over all blocks."""
    blocks = rand(4, 8, 8)
    q = blocks - blocks.transpose(1, 2)
    alpha = float(q.norm()) / 32 / 2
    tensors = {f"{kohya(LINEAR)}.oft_blocks": blocks, f"{kohya(LINEAR)}.alpha": torch.tensor(alpha)}
    got = patched_weight(tmp_path, tensors, f"{LINEAR}.weight", 1.0)
    halved = patched_weight(tmp_path, {f"{kohya(LINEAR)}.oft_blocks": blocks / 2}, f"{LINEAR}.weight", 1.0)
    assert close(got, halved)


def test_boft_is_a_product_of_turned_groups(tmp_path: Path) -> None:
    """Stage i as a full matrix: the rows it mixes, found by counting, and its blocks laid out on them."""
    blocks = rand(3, 4, 8, 8)
    got = patched_weight(tmp_path, {f"{kohya(LINEAR)}.oft_blocks": blocks}, f"{LINEAR}.weight", 1.0)
    want = weights()[f"{LINEAR}.weight"].clone()
    for i in range(3):
        half = 2**i * 4
        order = [start + side * half + j for start in range(0, 32, 2 * half) for j in range(half) for side in (0, 1)]
        turn = torch.zeros(32, 32)
        for k in range(4):
            q = blocks[i, k] - blocks[i, k].T
            r = torch.linalg.solve((torch.eye(8) - q).T, (torch.eye(8) + q).T).T
            for a in range(8):
                for b in range(8):
                    turn[order[8 * k + a], order[8 * k + b]] = r[a, b]
        assert torch.allclose(turn @ turn.T, torch.eye(32), atol=1e-4)
        want = turn @ want
    assert (got - want).abs().max() < 1e-4
    still = patched_weight(tmp_path, {f"{kohya(LINEAR)}.oft_blocks": blocks * 0}, f"{LINEAR}.weight", 0.5)
    assert close(still, weights()[f"{LINEAR}.weight"])


@pytest.mark.parametrize("by", ["row", "column"])
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_dora_splits_length_and_direction(tmp_path: Path, by: str, strength: float) -> None:
    key = kohya(LINEAR)
    up, down = rand(32, RANK), rand(RANK, 32)
    magnitude = rand(32, 1).abs() + 0.5 if by == "row" else rand(1, 32).abs() + 0.5
    tensors = {f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down, f"{key}.dora_scale": magnitude}
    got = patched_weight(tmp_path, tensors, f"{LINEAR}.weight", strength)
    w = weights()[f"{LINEAR}.weight"]
    full = F.normalize(w + up @ down, dim=1 if by == "row" else 0) * magnitude
    assert close(got, w + strength * (full - w))


def test_oft_turns_rows(tmp_path: Path) -> None:
    blocks = rand(4, 8, 8)
    got = patched_weight(tmp_path, {f"{kohya(LINEAR)}.oft_blocks": blocks}, f"{LINEAR}.weight", 1.0)
    w, turned = weights()[f"{LINEAR}.weight"], []
    for k in range(4):
        q = blocks[k] - blocks[k].T
        r = torch.linalg.solve(torch.eye(8) - q, torch.eye(8) + q)
        assert torch.allclose(r @ r.T, torch.eye(8), atol=1e-4)
        turned.append(r.T @ w[8 * k : 8 * k + 8])
    assert (got - torch.cat(turned)).abs().max() < 1e-4


DIFFUSERS = to_diffusers(SIZES, weights())
DIFFUSERS_LINEAR = DIFFUSERS[f"{LINEAR}.weight"].removesuffix(".weight")


def attention_modules() -> list[str]:
    return [n.removesuffix(".weight") for n in weights() if n.endswith(("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight"))]


def styles() -> dict[str, Callable[[str, Tensor, Tensor], dict[str, Tensor]]]:
    """Spellings of one LoRA by (single-file module, up, down)."""

    def diffusers(module: str) -> str:
        return DIFFUSERS[f"{module}.weight"].removesuffix(".weight")

    def processor(module: str) -> str:
        block, attn, leaf = diffusers(module).removesuffix(".0").rsplit(".", 2)
        return f"{block}.{attn}.processor.{leaf}_lora"

    def pair(up: str, down: str) -> Callable[[str, Tensor, Tensor], dict[str, Tensor]]:
        def spell(module: str, u: Tensor, d: Tensor) -> dict[str, Tensor]:
            names = {"s": module, "d": diffusers(module), "p": processor(module)}
            names |= {"su": names["s"].replace(".", "_"), "du": names["d"].replace(".", "_")}
            return {up.format(**names): u, down.format(**names): d}

        return spell

    return {
        "kohya, diffusers names": pair("lora_unet_{du}.lora_up.weight", "lora_unet_{du}.lora_down.weight"),
        "kohya, single-file names": pair("lora_unet_{su}.lora_up.weight", "lora_unet_{su}.lora_down.weight"),
        "peft in diffusers": pair("unet.{d}.lora_B.weight", "unet.{d}.lora_A.weight"),
        "diffusers before peft": pair("unet.{d}.lora.up.weight", "unet.{d}.lora.down.weight"),
        "attention processors": pair("unet.{p}.up.weight", "unet.{p}.down.weight"),
        "attention processors, UNet only": pair("{p}.up.weight", "{p}.down.weight"),
        "peft alone": pair("base_model.model.{d}.lora_B.default.weight", "base_model.model.{d}.lora_A.default.weight"),
        "full names": pair("diffusion_model.{s}.lora_up.weight", "diffusion_model.{s}.lora_down.weight"),
    }


@functools.cache
def factors() -> dict[str, tuple[Tensor, Tensor]]:
    shapes = {module: weights()[f"{module}.weight"].shape for module in attention_modules()}
    return {module: (rand(shape[0], RANK), rand(RANK, shape[1])) for module, shape in shapes.items()}


@functools.cache
def batch() -> tuple[Tensor, Tensor, Tensor]:
    return rand(1, 4, 8, 8), torch.tensor([500.0]), rand(1, 5, 24)


@torch.no_grad()
def run(loadable: Loadable, pool: Pool) -> Tensor:
    with pool.lease(loadable) as net:
        out: Tensor = net(*batch())
    return out


@functools.cache
@torch.no_grad()
def reference() -> Tensor:
    """diffusers' UNet with W + 0.8 · up · down written into its weights."""
    from diffusers import UNet2DConditionModel

    theirs = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=SIZES.channels,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        cross_attention_dim=24,
        attention_head_dim=8,
    ).eval()
    names = from_diffusers(theirs.state_dict())
    state = {names[single]: value.clone() for single, value in weights().items()}
    for module, (up, down) in factors().items():
        state[names[f"{module}.weight"]] += 0.8 * (up @ down)
    theirs.load_state_dict(state)
    out: Tensor = theirs(*batch()).sample
    return out


@pytest.mark.parametrize("style", styles())
def test_every_spelling_gives_what_diffusers_gives(tmp_path: Path, style: str) -> None:
    tensors: dict[str, Tensor] = {}
    for module, (up, down) in factors().items():
        tensors |= styles()[style](module, up, down)
    found, _, report = apply(model(), None, saved(tmp_path, tensors), 0.8)
    assert found is not None and report.model == len(factors()) and not report.unmatched
    got = run(found.leasable(), Pool("cpu"))
    assert (got - reference()).abs().max() < 1e-5
    assert (got - run(model().leasable(), Pool("cpu"))).abs().max() > 1e-3


def test_kohya_names_mean_what_diffusers_makes_of_them(tmp_path: Path) -> None:
    convert = pytest.importorskip("diffusers.loaders.lora_conversion_utils")._convert_non_diffusers_lora_to_diffusers
    ours: dict[str, Tensor] = {}
    for module, (up, down) in factors().items():
        ours |= styles()["kohya, diffusers names"](module, up, down)
    found = read_adapters(saved(tmp_path, ours))
    names = {resolve(t, unet_aliases(weights(), DIFFUSERS), weights()): adapter for t, adapter in found.by_target.items()}
    theirs = read_adapters(saved(tmp_path, convert(dict(ours))[0]))
    told = {resolve(t, unet_aliases(weights(), DIFFUSERS), weights()): adapter for t, adapter in theirs.by_target.items()}
    assert len(names) == len(factors()) and names.keys() == told.keys()
    for name, adapter in names.items():
        other = told[name]
        assert isinstance(adapter, LowRank) and isinstance(other, LowRank)
        assert torch.equal(adapter.up, other.up) and torch.equal(adapter.down, other.down)


@pytest.mark.parametrize(
    "style",
    [
        "lora_te_{u}.lora_{side}.weight",
        "lora_te1_{u}.lora_{side}.weight",
        "text_encoder.{d}.lora_{AB}.weight",
        "text_encoder.{d}.lora_linear_layer.{side}.weight",
    ],
)
def test_text_encoder_spellings(tmp_path: Path, style: str) -> None:
    module = "text_model.encoder.layers.1.self_attn.q_proj"
    up, down = rand(64, RANK), rand(RANK, 64)
    keys = [style.format(u=module.replace(".", "_"), d=module, side=side, AB=letter) for side, letter in (("up", "B"), ("down", "A"))]
    _, found, report = apply(None, clip(), saved(tmp_path, dict(zip(keys, (up, down), strict=True))), 1.0, 0.5)
    assert found is not None and report.clip == 1 and not report.unmatched
    with Pool("cpu").lease(found.leasable()) as net:
        layer: Any = net.get_submodule(module)
        got = layer.get("weight", torch.empty(0))
    assert close(got, text_weights()[f"{module}.weight"] + 0.5 * up @ down)
    plain, _ = clip().encode(clip().tokenize("a cat"), Pool("cpu"))
    assert not torch.allclose(found.encode(found.tokenize("a cat"), Pool("cpu"))[0], plain)


def file_of_all(path: Path) -> Any:
    tensors: dict[str, Tensor] = {}
    for module, (up, down) in factors().items():
        tensors |= styles()["kohya, diffusers names"](module, up, down)
    return saved(path, tensors)


def test_switching_strength_leaves_originals_alone(tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in weights().items()}
    pool, file = Pool("cpu"), file_of_all(tmp_path)
    plain = run(model().leasable(), pool)
    outs = []
    for strength in (0.5, 1.0, 0.5):
        found, _, _ = apply(model(), None, file, strength)
        assert found is not None
        outs.append(run(found.leasable(), pool))
    assert torch.equal(outs[0], outs[2]) and not torch.equal(outs[0], outs[1])
    assert torch.equal(run(model().leasable(), pool), plain)
    assert all(torch.equal(value, before[name]) for name, value in weights().items())
    assert torch.equal(run(apply(model(), None, file, 0.5)[0].leasable(), Pool("cpu", budget=1)), outs[0])  # type: ignore[union-attr]


def test_two_files_add_up(tmp_path: Path) -> None:
    file = file_of_all(tmp_path)
    once, _, _ = apply(model(), None, file, 0.8)
    half, _, _ = apply(model(), None, file, 0.4)
    twice, _, _ = apply(half, None, file, 0.4)
    assert once is not None and twice is not None
    assert (run(once.leasable(), Pool("cpu")) - run(twice.leasable(), Pool("cpu"))).abs().max() < 1e-5


def test_ten_files_take_the_memory_of_one(tmp_path: Path) -> None:
    file, pool = file_of_all(tmp_path), Pool("cpu")
    found, sizes = model(), []
    for i in range(10):
        found = apply(found, None, file, 0.1 * (i + 1))[0] or found
        with pool.lease(found.leasable()) as net:
            sizes.append(sum(slot.nbytes for module in net.modules() for slot in getattr(module, "slots", {}).values()))
    assert len(set(sizes)) == 1 and len(pool.table()) == 1
    assert all(value.data_ptr() == model().loadable.source[name].data_ptr() for name, value in weights().items())


def test_strength_zero_is_no_patch(tmp_path: Path) -> None:
    found, text, report = apply(model(), clip(), file_of_all(tmp_path), 0.0, 0.0)
    assert found is not None and text is not None
    assert found.patches == () and text.patches == () and report.model == 0


def test_equal_patches_have_equal_fingerprints(tmp_path: Path) -> None:
    file = file_of_all(tmp_path)
    one, two, other = (apply(model(), None, file, s)[0] for s in (0.5, 0.5, 0.6))
    assert one is not None and two is not None and other is not None
    assert one.leasable().fingerprint == two.leasable().fingerprint != other.leasable().fingerprint
    assert dict(one.leasable().deltas) == dict(two.leasable().deltas)


def test_a_file_of_another_family_is_refused_by_name(tmp_path: Path) -> None:
    key = f"lora_unet_{BLOCK.replace('.', '_')}_attn2_to_k"
    file = saved(tmp_path, {f"{key}.lora_up.weight": rand(640, RANK), f"{key}.lora_down.weight": rand(RANK, 2048)})
    with pytest.raises(BadInput, match=r"The LoRA adapter.safetensors is for SDXL, the model is Stable Diffusion 1\. Its lora_unet_input"):
        apply(model(), None, file, kin=kin)
    full = replace(model(), sizes=UNetSizes())
    with pytest.raises(BadInput, match=r"is for SDXL, the model is SD 1\.x"):
        apply(full, None, file, kin=kin)
    names = ("double_blocks_0_img_attn_qkv", "single_blocks_0_linear1")
    tensors = {f"lora_unet_{name}.lora_{side}.weight": rand(*shape) for name in names for side, shape in (("up", (8, 2)), ("down", (2, 8)))}
    with pytest.raises(BadInput, match="is for Flux"):
        apply(model(), clip(), saved(tmp_path, tensors), kin=kin)


def test_a_layer_that_differs_among_many_is_left_out_and_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As the first convolution of an inpainting model does."""
    tensors: dict[str, Tensor] = {}
    for module, (up, down) in factors().items():
        tensors |= styles()["kohya, diffusers names"](module, up, down)
    tensors |= {"lora_unet_conv_in.lora_up.weight": rand(32, 2, 1, 1), "lora_unet_conv_in.lora_down.weight": rand(2, 9, 3, 3)}
    _, _, report = apply(model(), None, saved(tmp_path, tensors))
    assert report.model == len(factors()) and report.unmatched == ("lora_unet_conv_in",)
    assert "these match nothing: lora_unet_conv_in" in caplog.text


def test_unmatched_names_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tensors = styles()["kohya, diffusers names"](LINEAR, rand(32, 2), rand(2, 32))
    tensors |= {"lora_unet_nowhere.lora_up.weight": rand(4, 2), "lora_unet_nowhere.lora_down.weight": rand(2, 4)}
    tensors |= {
        "some.other.tensor": rand(1),
        "lora_te_text_model_x.lora_up.weight": rand(4, 2),
        "lora_te_text_model_x.lora_down.weight": rand(2, 4),
    }
    _, _, report = apply(model(), None, saved(tmp_path, tensors))
    assert report.model == 1
    assert set(report.unmatched) == {"lora_unet_nowhere", "some.other.tensor"}
    assert report.left_out == ("lora_te_text_model_x",)
    assert "match nothing" in caplog.text


def test_files_without_adapters_and_with_broken_ones(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no LoRA"):
        apply(model(), None, saved(tmp_path, {"a": rand(2)}))
    with pytest.raises(BadFile, match="do not fit together"):
        read_adapters(saved(tmp_path, {"x.lora_up.weight": rand(4, 2), "x.lora_down.weight": rand(3, 4)}))


def test_a_half_adapter_is_unknown(tmp_path: Path) -> None:
    found = read_adapters(saved(tmp_path, {"x.lora_up.weight": rand(4, 2), "y.diff": rand(2)}))
    assert set(found.by_target) == {Target("y", "weight")} and found.unknown == ("x.lora_up.weight",)
