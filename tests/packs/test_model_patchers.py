"""A pack that changes models: what it puts on them acts in the application's own sampler."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.packs.home import Home, node, sampled


@pytest.fixture
def patched(home: Home) -> Home:
    home.model()
    home.add("model_patchers")
    home.start()
    assert [p.error for p in home.loaded.packs] == [None], home.loaded.packs[0].traceback
    return home


def latent(home: Home, *chain: str, **sampler: Any) -> Tensor:
    """The latent of the sampler behind a chain of the pack's nodes."""
    graph = sampled(**sampler)
    link: list[Any] = ["1", 0]
    for i, kind in enumerate(chain):
        graph[f"p{i}"] = node(kind, model=link)
        link = [f"p{i}", 0]
    graph["5"]["inputs"]["model"] = link
    home.ran(graph)
    found: Tensor = home.results("5")[0][0]["samples"]
    return found


def test_guidance_functions(patched: Home) -> None:
    plain = latent(patched)
    assert torch.allclose(latent(patched, "ModelledPlainCfg"), plain, atol=1e-4)
    assert torch.allclose(latent(patched, "ModelledOldCfg"), latent(patched, cfg=1.0), atol=1e-4)
    half = latent(patched, "ModelledPostCfgHalf")
    assert not torch.allclose(half, plain)
    assert torch.allclose(latent(patched, "ModelledPlainCfg", "ModelledPostCfgHalf"), half, atol=1e-4)


def test_patches_of_packs_and_of_the_application_stand_side_by_side(patched: Home) -> None:
    graph = sampled()
    graph["a"] = node("ModelledPostCfgHalf", model=["1", 0])
    graph["b"] = node("RescaleCFG", model=["a", 0], multiplier=0.7)
    graph["c"] = node("ModelledPlainCfg", model=["b", 0])
    graph["5"]["inputs"]["model"] = ["c", 0]
    patched.ran(graph)
    made = patched.results("5")[0][0]["samples"]
    assert not torch.allclose(made, latent(patched)) and made.isfinite().all()


def test_asking_again_with_other_attention(patched: Home) -> None:
    plain = latent(patched)
    asked = latent(patched, "ModelledAskAgain")
    assert asked.isfinite().all() and not torch.allclose(asked, plain)


def test_attention_and_block_patches(patched: Home) -> None:
    plain = latent(patched)
    pack = type_of(patched, "ModelledAttentionPatches")
    pack.SEEN.clear()
    assert not torch.allclose(latent(patched, "ModelledAttentionPatches"), plain)
    assert {s[0] for s in pack.SEEN} == {"attn1", "input"}
    assert all(s[3] == 7 for s in pack.SEEN if s[0] == "attn1") and any(s[2] == [0, 1] for s in pack.SEEN if s[0] == "input")


def type_of(home: Home, id: str) -> Any:
    return home.registry[id].instance_of


def test_function_wrapper(patched: Home) -> None:
    wrapper = type_of(patched, "ModelledWrapper")
    wrapper.CALLS.clear()
    made = latent(patched, "ModelledWrapper")
    roles, shape, keys = wrapper.CALLS[0]
    assert roles == (0, 1) and shape[0] == 2 and keys == ["c_crossattn", "transformer_options"]
    assert len(wrapper.CALLS) == 3  # once a step, both prompts in one batch
    assert not torch.allclose(made, latent(patched))


def test_wrappers_and_callbacks_of_every_place(patched: Home) -> None:
    wrappers = type_of(patched, "ModelledWrappers")
    wrappers.CALLS.clear()
    made = latent(patched, "ModelledWrappers")
    assert torch.allclose(made, latent(patched), atol=1e-5)
    assert set(wrappers.CALLS) == {
        "outer_sample", "sampler_sample", "predict_noise", "calc_cond_batch", "apply_model", "diffusion_model", "pre_run", "cleanup",
    }  # fmt: skip
    assert wrappers.CALLS.count("apply_model") == 3 and wrappers.CALLS.count("outer_sample") == 1


def test_weights(patched: Home) -> None:
    plain = latent(patched)
    assert not torch.allclose(latent(patched, "ModelledAddWeights"), plain)
    assert not torch.allclose(latent(patched, "ModelledLora"), plain)
    assert torch.equal(latent(patched), plain), "the file's weights were touched"
    graph = sampled()
    graph["m"] = node("ModelledMerge", model=["1", 0], other=["1", 0])
    graph["5"]["inputs"]["model"] = ["m", 0]
    patched.ran(graph)
    assert torch.allclose(patched.results("5")[0][0]["samples"], plain, atol=1e-4)


def test_a_noise_model_of_its_own(patched: Home) -> None:
    graph = sampled()
    graph["d"] = node("ModelSamplingDiscrete", model=["1", 0], sampling="v_prediction", zsnr=True)
    graph["5"]["inputs"]["model"] = ["d", 0]
    patched.ran(graph)
    ours = patched.results("5")[0][0]["samples"]
    assert torch.allclose(latent(patched, "ModelledOwnSampling"), ours, rtol=1e-3, atol=1e-3)


def test_an_object_inside_the_net_is_there_for_one_sampling_only(patched: Home) -> None:
    plain = latent(patched)
    assert not torch.allclose(latent(patched, "ModelledInsideTheNet"), plain)
    assert torch.equal(latent(patched), plain)


def test_what_can_be_seen_of_a_model(patched: Home) -> None:
    graph = sampled()
    graph["l"] = node("ModelledLooksAround", model=["1", 0])
    patched.ran(graph)
    assert patched.shown("l")["text"][0].startswith("14.6146 ")
