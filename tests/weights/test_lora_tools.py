"""Merging LoRAs, making them smaller, taking them out of differences, and weighing them by block."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.weights.adapters.blocks import read_block_weights
from backend.weights.adapters.combine import Recipe, Share, combined, spelled
from backend.weights.adapters.lowrank import closest, shortened
from backend.weights.held import Held

OUT, IN = 12, 20
DOT, KOHYA = (
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
)


def lora(seed: int, rank: int, alpha: float, name: str = KOHYA) -> tuple[Held, Tensor, Tensor, Tensor]:
    """A file, its factors with the scale in `up`, and what they do."""
    g = torch.Generator().manual_seed(seed)
    up, down = torch.randn(OUT, rank, generator=g), torch.randn(rank, IN, generator=g)
    tensors = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down, f"{name}.alpha": torch.tensor(alpha)}
    up = up * alpha / rank
    return Held(tensors, f"{seed}"), up, down, up @ down


def product(tensors: dict[str, Tensor], name: str = KOHYA) -> Tensor:
    up, down = tensors[f"{name}.lora_up.weight"], tensors[f"{name}.lora_down.weight"]
    assert float(tensors[f"{name}.alpha"]) == up.shape[1]
    return up @ down


def kept(t: Tensor, density: float) -> Tensor:
    edge = t.abs().flatten().sort(descending=True).values[int(density * t.numel()) - 1]
    return torch.where(t.abs() >= edge, t, 0.0)


def agreed(a: Tensor, b: Tensor, weights: tuple[float, float]) -> Tensor:
    """The mean of the weighted values that have the sign of their sum, place by place."""
    out = torch.zeros_like(a).flatten()
    for i, (x, y) in enumerate(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)):
        sign = 1.0 if x + y >= 0 else -1.0
        votes = [v * w for v, w in ((x, weights[0]), (y, weights[1])) if v * sign > 0]
        out[i] = sum(votes) / max(len(votes), 1)
    return out.reshape(a.shape)


def test_a_sum_is_exact_and_meets_across_spellings() -> None:
    (a, _, _, one), (b, _, _, two) = lora(1, 3, 1.5), lora(2, 2, 2.0, DOT)
    made = combined([Share(a, 0.7), Share(b, -0.4)], Recipe())
    assert made[f"{KOHYA}.lora_up.weight"].shape == (OUT, 5)
    assert torch.allclose(product(made), 0.7 * one - 0.4 * two, atol=1e-5)
    assert spelled(f"{DOT[:-5]}.to_out") == f"{KOHYA[:-5]}_to_out_0" and spelled("lora_te1_text_model_x") == spelled(
        "text_encoder.text_model.x"
    )


@pytest.mark.parametrize("method", ["ties", "magnitude_prune"])
@pytest.mark.parametrize("factors", [False, True])
def test_trims(method: str, factors: bool) -> None:
    (a, up1, down1, one), (b, up2, down2, two) = lora(1, 2, 2.0), lora(2, 2, 1.0)
    weights, density = (0.9, 0.5), 0.6
    made = product(combined([Share(a, weights[0]), Share(b, weights[1])], Recipe(method, 0 if factors else 12, density, factors=factors)))

    def merge(x: Tensor, y: Tensor, w: tuple[float, float]) -> Tensor:
        x, y = kept(x, density), kept(y, density)
        return agreed(x, y, w) if method == "ties" else x * w[0] + y * w[1]

    roots = (weights[0] ** 0.5, weights[1] ** 0.5)
    want = merge(up1, up2, roots) @ merge(down1, down2, roots) if factors else merge(one, two, weights)
    assert torch.allclose(made, want, atol=1e-5)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare_is_random_by_seed_and_right_on_average(method: str) -> None:
    (a, _, _, one), (b, _, _, two) = lora(1, 2, 2.0), lora(2, 2, 1.0)
    shares = [Share(a, 1.0), Share(b, 1.0)]
    runs = [product(combined(shares, Recipe(method, 12, 0.5, seed=seed))) for seed in range(200)]
    assert torch.equal(runs[3], product(combined(shares, Recipe(method, 12, 0.5, seed=3)))) and not torch.equal(runs[3], runs[4])
    if method == "dare_linear":
        assert (torch.stack(runs).mean(0) - one - two).abs().max() < 0.25 * (one + two).abs().max()
    whole = product(combined(shares, Recipe(method, 12, 1.0)))
    assert torch.allclose(whole, one + two if method == "dare_linear" else agreed(one, two, (1.0, 1.0)), atol=1e-5)


def test_kernels_and_differences_keep_their_shape() -> None:
    up, down = torch.randn(8, 2, 1, 1), torch.randn(2, 4, 3, 3)
    tensors = {"lora_unet_conv_in.lora_up.weight": up, "lora_unet_conv_in.lora_down.weight": down, "lora_unet_x.diff_b": torch.ones(4)}
    made = combined([Share(Held(tensors), 0.5), Share(Held(tensors), 1.0)], Recipe())
    assert made["lora_unet_conv_in.lora_down.weight"].shape == (4, 4, 3, 3)
    got = made["lora_unet_conv_in.lora_up.weight"].flatten(1) @ made["lora_unet_conv_in.lora_down.weight"].flatten(1)
    assert torch.allclose(got, 1.5 * (up.flatten(1) @ down.flatten(1)), atol=1e-5)
    assert torch.equal(made["lora_unet_x.diff_b"], torch.full((4,), 1.5))


def test_what_does_not_go_together_is_said() -> None:
    (a, *_), (b, *_) = lora(1, 3, 1.0), lora(2, 2, 1.0)
    with pytest.raises(BadInput, match="ranks 2 and 3"):
        combined([Share(a, 1.0), Share(b, 1.0)], Recipe("ties", factors=True))
    wide = Held({f"{KOHYA}.lora_up.weight": torch.ones(OUT, 2), f"{KOHYA}.lora_down.weight": torch.ones(2, 9)})
    with pytest.raises(BadInput, match="different kinds of models"):
        combined([Share(a, 1.0), Share(wide, 1.0)], Recipe())
    hada = Held({f"x.hada_w{i}_{s}": torch.ones(2, 2) for i in (1, 2) for s in "ab"}, "h")
    with pytest.raises(BadInput, match="something else than a LoRA"):
        combined([Share(hada, 1.0)], Recipe())
    with pytest.raises(BadInput, match="no LoRA is in there"):
        combined([Share(Held({"x": torch.ones(1)}, "y"), 1.0)], Recipe())


@pytest.mark.parametrize("shape", [(9, 14), (14, 9)])
def test_the_closest_product_is_that_of_the_svd(shape: tuple[int, int]) -> None:
    m = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    u, s, vh = torch.linalg.svd(m, full_matrices=False)
    want = (u[:, :4] * s[:4]) @ vh[:4]
    up, down = closest(m, 4)
    assert up.shape == (shape[0], 4) and torch.allclose(up @ down, want, atol=1e-5)
    assert torch.allclose(up.norm(dim=0), down.norm(dim=1), rtol=1e-4)
    short = shortened(u * s, vh, 4)
    assert torch.allclose(short[0] @ short[1], want, atol=1e-5)
    up, down = closest(torch.zeros(3, 5), 2)
    assert not up.isnan().any() and not down.isnan().any()


def test_block_weights_by_name_and_as_lists() -> None:
    named = read_block_weights("input: 0.5, IN04: 1\nmiddle=0; out 3: -0.25, text: 0, rest: 0.1")
    found = [
        named.of(name) for name in ("input_blocks.4.1.x", "input_blocks.5.0.x", "middle_block.1.x", "output_blocks.3.0.x", "out.2.weight")
    ]
    assert found == [1.0, 0.5, 0.0, -0.25, 0.1] and named.text == 0 and named.of("output_blocks.4.1.x") == 0.1
    listed = read_block_weights(",".join(str(i / 100) for i in range(17)))
    assert listed.text == 0 and listed.of("input_blocks.1.1.x") == 0.01 and listed.of("middle_block.0.x") == 0.07
    assert listed.of("output_blocks.11.1.x") == 0.16 and listed.of("input_blocks.3.0.op.weight") == 1.0
    assert read_block_weights("").of("input_blocks.1.1.x") == 1.0
    for text, match in (("1,2,3", "There are 3 block weights"), ("inpt 4: 1", "`inpt 4: 1` is no block"), ("input 4", "is no block")):
        with pytest.raises(BadInput, match=match):
            read_block_weights(text)


def test_content_is_the_identity_of_tensors_in_memory(tmp_path: Path) -> None:
    one, same, other = (Held({"a": torch.full((2,), v)}) for v in (1.0, 1.0, 2.0))
    assert one.mark == same.mark != other.mark
