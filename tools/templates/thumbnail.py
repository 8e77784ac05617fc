"""A drawing of a graph, small enough for a gallery: boxes where the nodes are, lines in the colours of what flows."""

from __future__ import annotations

from typing import Any

HEAD, ROW = 30, 24
MARGIN = 60
ASPECT = 1.6
HUES = {
    "MODEL": 262, "CLIP": 50, "VAE": 2, "CONDITIONING": 30, "LATENT": 318, "IMAGE": 210, "MASK": 140, "CLIP_VISION": 190,
    "CLIP_VISION_OUTPUT": 200, "CONTROL_NET": 165, "STYLE_MODEL": 90, "GUIDER": 185, "SAMPLER": 75, "SIGMAS": 95,
}  # fmt: skip
"""As in the editor."""


def draw(workflow: dict[str, Any]) -> str:
    """SVG of an editor workflow. Its colours suit dark and light pages alike."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    left = min(node["pos"][0] for node in nodes.values()) - MARGIN
    top = min(node["pos"][1] for node in nodes.values()) - HEAD - MARGIN
    width = max(node["pos"][0] + node["size"][0] for node in nodes.values()) + MARGIN - left
    height = max(node["pos"][1] + node["size"][1] for node in nodes.values()) + MARGIN - top
    tall = max(height, width / ASPECT)
    wide = tall * ASPECT
    left, top = left - (wide - width) / 2, top - (tall - height) / 2
    lines = [_line(nodes[a], out, nodes[b], place, kind) for _, a, out, b, place, kind in workflow["links"]]
    boxes = [_box(node) for node in nodes.values()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} {top:.0f} {wide:.0f} {tall:.0f}">'
        f'<g fill="none" stroke-width="9" opacity=".8">{"".join(lines)}</g>{"".join(boxes)}</svg>\n'
    )


def _line(source: dict[str, Any], out: int, target: dict[str, Any], place: int, kind: str) -> str:
    x, y = source["pos"][0] + source["size"][0], source["pos"][1] + ROW * (out + 0.5)
    u, v = target["pos"][0], target["pos"][1] + ROW * (place + 0.5)
    bend = max(40, abs(u - x) / 2)
    hue = HUES.get(kind)
    colour = f"hsl({hue},60%,58%)" if hue is not None else "#999"
    return f'<path d="M{x:.0f} {y:.0f}C{x + bend:.0f} {y:.0f} {u - bend:.0f} {v:.0f} {u:.0f} {v:.0f}" stroke="{colour}"/>'


def _box(node: dict[str, Any]) -> str:
    (x, y), (w, h) = node["pos"], node["size"]
    outputs = node.get("outputs") or [{"type": ""}]
    hue = HUES.get(outputs[0]["type"])
    head = f"hsl({hue},38%,52%)" if hue is not None else "#888"
    corner = f'<rect x="{x:.0f}" y="{y - HEAD:.0f}" width="{w:.0f}" rx="12"'
    return f'{corner} height="{h + HEAD:.0f}" fill="#8883" stroke="#8888" stroke-width="4"/>{corner} height="{HEAD + 10}" fill="{head}"/>'
