"""How diffusers names the parts of Chroma."""

from __future__ import annotations

from backend.families.flux.names import DOUBLE, ENDS, SINGLE, Names

TELLER = "distilled_guidance_layer"
LAYERS = 16
"""More than any of its nets has."""

_ends = {name: ENDS[name] for name in ("img_in", "txt_in", "final_layer.linear")}
_ends |= {f"{TELLER}.{name}": f"{TELLER}.{name}" for name in ("in_proj", "out_proj", *(f"norms.{i}" for i in range(LAYERS)))}
for _i in range(LAYERS):
    _ends |= {f"{TELLER}.layers.{_i}.{ours}_layer": f"{TELLER}.layers.{_i}.linear_{n}" for n, ours in enumerate(("in", "out"), 1)}

CHROMA = Names(
    _ends,
    {ours: theirs for ours, theirs in DOUBLE.items() if "_mod." not in ours},
    {ours: theirs for ours, theirs in SINGLE.items() if ours != "modulation.lin"},
    mark=f"{TELLER}.layers.0.linear_1.",
)
