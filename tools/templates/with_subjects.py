"""Graphs with the subject of a picture in their prompt (BLIP-Diffusion)."""

from __future__ import annotations

from tools.templates.parts import Graph, Model, Template, node, picture, text_to_image
from tools.templates.with_adapters import CANNY, CANNY_MODEL, controlled

BLIP = "blipdiffusion"
BLIP_MODEL = Model(BLIP, "BLIP-Diffusion, a diffusers folder; bert-base-uncased's vocab.txt goes into its qformer", "diffusers")


def subject() -> Graph:
    graph = text_to_image(BLIP, 512, "", "blurry, out of frame, low quality", cfg=7.5)
    graph["1"] = node("DiffusersLoader", model_path=BLIP)
    graph["q"] = node("LoadSubjectEncoder", model_path=BLIP)
    graph["i"] = picture("Picture of the subject")
    graph["2"] = node("SubjectTextEncode", "Prompt", clip=["1", 1], subject_encoder=["q", 0], image=["i", 0],
                      text="in a garden, morning light", source_subject="cat", target_subject="cat", repeats=20)  # fmt: skip
    return graph


def subject_along_edges() -> Graph:
    graph = {**subject(), "j": picture("Picture with the edges")}
    graph["e"] = node("Canny", image=["j", 0], low_threshold=0.4, high_threshold=0.8)
    return controlled(graph, CANNY, ("e", 0))


TEMPLATES = (
    Template("subject", "BLIP-Diffusion", "The subject of a picture, somewhere else.", (BLIP_MODEL,), subject()),
    Template("subject_controlnet", "BLIP-Diffusion with ControlNet", "The subject of a picture, along the edges of another.",
             (BLIP_MODEL, CANNY_MODEL), subject_along_edges()),
)  # fmt: skip
