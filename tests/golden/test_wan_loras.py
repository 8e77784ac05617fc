"""LoRAs for Wan: every published spelling of a module reaches its weight, in the nets that are shown more too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import WanAnimateTransformer3DModel, WanVACETransformer3DModel

from backend.base.errors import BadInput
from backend.families import kin
from backend.weights import lora
from backend.weights.held import Held
from tests.golden.wans import POOL, SMALL, loaded, plain, single

SPELLED = (
    ("plain", "diffusion_model.blocks.0.self_attn.q", "blocks.0.self_attn.q.weight", None),
    ("plain", "transformer.blocks.1.attn2.to_out.0", "blocks.1.cross_attn.o.weight", None),
    ("plain", "lora_unet_blocks_1_ffn_2", "blocks.1.ffn.2.weight", None),
    ("plain", "diffusion_model.text_embedding.0", "text_embedding.0.weight", None),
    ("vace", "diffusion_model.vace_blocks.0.after_proj", "vace_blocks.0.after_proj.weight", None),
    ("vace", "transformer.vace_blocks.0.attn1.to_k", "vace_blocks.0.self_attn.k.weight", None),
    ("animate", "transformer.face_adapter.0.to_v", "face_adapter.fuser_blocks.0.linear1_kv.weight", 1),
    ("animate", "diffusion_model.face_adapter.fuser_blocks.0.linear1_q", "face_adapter.fuser_blocks.0.linear1_q.weight", None),
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    face: dict[str, Any] = {
        "motion_encoder_size": 16, "motion_encoder_channel_sizes": {"4": 9, "8": 8, "16": 7}, "motion_style_dim": 10, "motion_dim": 6,
        "motion_encoder_dim": 12, "face_encoder_hidden_dim": 16, "face_encoder_num_heads": 2, "image_dim": 24, "added_kv_proj_dim": 64,
    }  # fmt: skip
    made = {
        "plain": plain(),
        "vace": WanVACETransformer3DModel(**SMALL, vace_layers=[0]),
        "animate": WanAnimateTransformer3DModel(**SMALL, **face, inject_face_latents_blocks=2),
    }
    return {name: loaded(single(net), tmp_path_factory.mktemp("net")) for name, net in made.items()}


@pytest.mark.parametrize(("kind", "module", "parameter", "half"), SPELLED)
def test_reaches_its_weight(models: dict[str, Any], kind: str, module: str, parameter: str, half: int | None) -> None:
    model = models[kind]
    before = model.loadable.source[parameter]
    rows, columns = before.shape
    up, down = torch.randn(rows if half is None else rows // 2, 2), torch.randn(2, columns)
    names = ("lora_down", "lora_up") if module.startswith("lora_unet_") else ("lora_A", "lora_B")
    state = {f"{module}.{names[0]}.weight": down, f"{module}.{names[1]}.weight": up}
    patched, _, report = lora.apply(model, None, Held(state), 0.5)
    assert patched is not None and report.unmatched == () and report.model == 1
    want = before.clone()
    (want if half is None else want.chunk(2)[half]).add_(0.5 * up @ down)
    with POOL.lease(patched.leasable()) as net:
        owner, _, own = parameter.rpartition(".")
        got = net.get_submodule(owner).get(own, torch.zeros(1))  # type: ignore[operator]
    assert torch.allclose(got, want, atol=1e-5)


def test_spelled_as_diffusers_do_they_are_known_for_what_they_are() -> None:
    for module in ("transformer.blocks.0.attn2.add_k_proj", "blocks.3.ffn.net.0.proj", "lora_unet_vace_blocks_0_after_proj"):
        assert kin.of_adapter([module], None) == "Wan"
    assert kin.of_adapter(["transformer_blocks.0.attn.add_k_proj"], None) == "SD 3"


def test_one_for_another_family_is_refused_by_name(models: dict[str, Any]) -> None:
    state = {"transformer.double_stream_blocks.0.block.attn1.to_q.lora_A.weight": torch.zeros(2, 8)}
    state |= {"transformer.double_stream_blocks.0.block.attn1.to_q.lora_B.weight": torch.zeros(8, 2)}
    with pytest.raises(BadInput, match="is for HiDream, the model is Wan VACE"):
        lora.apply(models["vace"], None, Held(state), 1.0, kin=kin)
