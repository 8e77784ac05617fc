"""How diffusers names the parts of Flux 2."""

from __future__ import annotations

from backend.families.flux.names import DOUBLE, ENDS, SINGLE, Names

MODULATIONS = ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation")
PERCEPTRONS = {
    "img_mlp.0": "ff.linear_in", "img_mlp.2": "ff.linear_out", "txt_mlp.0": "ff_context.linear_in", "txt_mlp.2": "ff_context.linear_out",
}  # fmt: skip

FLUX2 = Names(
    {ours: theirs.replace("time_text_embed", "time_guidance_embed") for ours, theirs in ENDS.items() if not ours.startswith("vector_in")}
    | {f"{name}.lin": f"{name}.linear" for name in MODULATIONS},
    {ours: theirs for ours, theirs in DOUBLE.items() if "_mod." not in ours} | PERCEPTRONS,
    {ours: theirs for ours, theirs in SINGLE.items() if ours != "modulation.lin"}
    | {"linear1": "attn.to_qkv_mlp_proj", "linear2": "attn.to_out"},
    mark="double_stream_modulation_img.linear.",
)
