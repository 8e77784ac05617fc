"""LoRAs for transformers of one stream: every published spelling of a module reaches its weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import HiDreamImageTransformer2DModel, Ideogram4Transformer2DModel, Krea2Transformer2DModel
from torch import Tensor

from backend.base.errors import BadInput
from backend.families import kin
from backend.memory.pool import Pool
from backend.weights import lora
from backend.weights.held import Held
from tests.families import nets
from tests.families.published import respelled
from tests.golden import test_anima, test_hidream, test_ideogram4, test_krea2, test_z_image
from tests.tools import seedvr2_twins

NETS: dict[str, tuple[Any, Any]] = {
    "Anima": (test_anima.folder, test_anima.from_folder),
    "Z-Image": (test_z_image.twin, lambda state: respelled(state, test_z_image.SPELLINGS)),
    "Ideogram 4": (lambda: Ideogram4Transformer2DModel(**test_ideogram4.CONFIG), test_ideogram4.published),
    "Krea 2": (lambda: Krea2Transformer2DModel(**test_krea2.CONFIG), dict),
    "SeedVR2": (lambda: seedvr2_twins.SeedVR2Net(seedvr2_twins.SMALL), dict),
    "HiDream": (lambda: HiDreamImageTransformer2DModel(**test_hidream.CONFIG, num_routed_experts=0), dict),
}
SPELLED = (
    ("Anima", "diffusion_model.blocks.0.self_attn.q_proj", "blocks.0.self_attn.q_proj.weight", None),
    ("Anima", "lora_unet_blocks_1_mlp_layer1", "blocks.1.mlp.layer1.weight", None),
    ("Anima", "transformer.transformer_blocks.1.attn2.to_out.0", "blocks.1.cross_attn.output_proj.weight", None),
    ("Anima", "transformer.transformer_blocks.0.norm2.linear_2", "blocks.0.adaln_modulation_cross_attn.2.weight", None),
    ("Anima", "diffusion_model.llm_adapter.blocks.1.mlp.2", "llm_adapter.blocks.1.mlp.2.weight", None),
    ("Anima", "text_conditioner.blocks.0.cross_attn.k_proj", "llm_adapter.blocks.0.cross_attn.k_proj.weight", None),
    ("Z-Image", "diffusion_model.layers.0.attention.to_k", "layers.0.attention.qkv.weight", 1),
    ("Z-Image", "transformer.layers.1.attention.to_out.0", "layers.1.attention.out.weight", None),
    ("Z-Image", "lora_unet_layers_0_attention_qkv", "layers.0.attention.qkv.weight", None),
    ("Z-Image", "transformer.noise_refiner.0.feed_forward.w1", "noise_refiner.0.feed_forward.w1.weight", None),
    ("Ideogram 4", "transformer.layers.0.attention.to_v", "layers.0.attention.qkv.weight", 2),
    ("Ideogram 4", "conditional_transformer.layers.0.attention.o", "layers.0.attention.o.weight", None),
    ("Krea 2", "transformer.transformer_blocks.0.attn.to_q", "blocks.0.attn.wq.weight", None),
    ("Krea 2", "base_model.model.blocks.1.mlp.down", "blocks.1.mlp.down.weight", None),
    ("Krea 2", "transformer.text_fusion.refiner_blocks.0.attn.to_out.0", "txtfusion.refiner_blocks.0.attn.wo.weight", None),
    ("SeedVR2", "diffusion_model.blocks.0.attn.proj_qkv.vid", "blocks.0.attn.proj_qkv.vid.weight", None),
    ("SeedVR2", "lora_unet_blocks_2_mlp_all_proj_in_gate", "blocks.2.mlp.all.proj_in_gate.weight", None),
    ("HiDream", "transformer.double_stream_blocks.0.block.attn1.to_q_t", "double_stream_blocks.0.block.attn1.to_q_t.weight", None),
    ("HiDream", "lora_unet_single_stream_blocks_1_block_ff_i_w2", "single_stream_blocks.1.block.ff_i.w2.weight", None),
)  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made = {}
    for name, (build, published) in NETS.items():
        made[name] = nets.load(published(dict(nets.randomised(build()).state_dict())), tmp_path_factory.mktemp("net"))
        assert made[name].family.name == name
    return made


@pytest.mark.parametrize(("family", "module", "parameter", "third"), SPELLED)
def test_reaches_its_weight(models: dict[str, Any], family: str, module: str, parameter: str, third: int | None) -> None:
    model = models[family]
    before = model.loadable.source[parameter]
    rows, columns = before.shape
    up, down = torch.randn(rows if third is None else rows // 3, 2), torch.randn(2, columns)
    state: dict[str, Tensor] = {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}
    if module.startswith("lora_unet_"):
        state = {f"{module}.lora_down.weight": down, f"{module}.lora_up.weight": up}
    patched, _, report = lora.apply(model, None, Held(state), 0.5)
    assert patched is not None and report.unmatched == () and report.model == 1
    change = 0.5 * up @ down
    want = before.clone()
    want.chunk(3)[third].add_(change) if third is not None else want.add_(change)
    with Pool("cpu").lease(patched.leasable()) as net:
        owner, _, own = parameter.rpartition(".")
        got = net.get_submodule(owner).get(own, torch.zeros(1))  # type: ignore[operator]
    assert torch.allclose(got, want, atol=1e-5)


def test_one_for_another_family_is_refused_by_name(models: dict[str, Any]) -> None:
    state = {"transformer.double_stream_blocks.0.block.attn1.to_q.lora_A.weight": torch.zeros(2, 8)}
    state |= {"transformer.double_stream_blocks.0.block.attn1.to_q.lora_B.weight": torch.zeros(8, 2)}
    with pytest.raises(BadInput, match="is for HiDream, the model is Krea 2"):
        lora.apply(models["Krea 2"], None, Held(state), 1.0, kin=kin)
    state = {"lora_unet_blocks_0_self_attn_output_proj.lora_down.weight": torch.zeros(2, 9)}
    state |= {"lora_unet_blocks_0_self_attn_output_proj.lora_up.weight": torch.zeros(9, 2)}
    with pytest.raises(BadInput, match="is for Anima or Cosmos Predict 2, the model is Krea 2"):
        lora.apply(models["Krea 2"], None, Held(state), 1.0, kin=kin)
