"""Graphs around finished or given pictures: enlarged, measured, checked, marked."""

from __future__ import annotations

from tools.templates.parts import CAT, SD1, SD1_MODEL, Graph, Model, Template, node, picture, text_to_image
from tools.templates.with_adapters import DEPTH, controlled

UPSCALER, CHECKER, MEASURER = "RealESRGAN_x4plus.pth", "safety_checker.safetensors", "depth_anything_v2_vits.safetensors"

POSE, WATCHER = "control_v11p_sd15_openpose.pth", "vitpose-plus-base.safetensors"


def finished(**nodes: dict[str, object]) -> Graph:
    """A picture that goes through the last of these nodes before it is saved; "d" is the picture."""
    graph = {**text_to_image(SD1, 512, CAT), **nodes}
    graph["s"]["inputs"]["images"] = [list(nodes)[-1], 0]
    return graph


def depth_kept() -> Graph:
    graph = {**text_to_image(SD1, 512, CAT), "i": picture(), "m": node("LoadDepthModel", name=MEASURER)}
    graph["e"] = node("DepthMap", image=["i", 0], depth_model=["m", 0], resolution=0, near_is_white=True)
    return controlled(graph, DEPTH, ("e", 0))


def pose_kept() -> Graph:
    graph = {**text_to_image(SD1, 512, "a dancer on a stage, spotlight"), "i": picture(), "m": node("LoadPoseModel", name=WATCHER)}
    graph["e"] = node("PoseSkeleton", image=["i", 0], pose_model=["m", 0], boxes="", threshold=0.3, thickness=1.0)
    return controlled(graph, POSE, ("e", 0), strength=1.0)


TEMPLATES = (
    Template("upscale_model", "Enlarge by a model", "Four times the pixels after sampling, without a prompt.",
             (SD1_MODEL, Model(UPSCALER, "any upscale model", "upscale_models")),
             finished(u=node("UpscaleModelLoader", model_name=UPSCALER),
                      x=node("ImageUpscaleWithModel", upscale_model=["u", 0], image=["d", 0]))),
    Template("controlnet_depth", "ControlNet by a depth map", "How far things are is measured in one picture and kept in another.",
             (SD1_MODEL, Model(DEPTH, "ControlNet of SD 1.5, depth", "controlnet"),
              Model(MEASURER, "Depth Anything or MiDaS", "clip_vision")), depth_kept()),
    Template("controlnet_pose", "ControlNet by a skeleton", "How someone stands is found in one picture and kept in another.",
             (SD1_MODEL, Model(POSE, "ControlNet of SD 1.5, OpenPose", "controlnet"), Model(WATCHER, "ViTPose", "clip_vision")),
             pose_kept()),
    Template("safety_checker", "Safety checker", "Pictures that the checker of Stable Diffusion 1 flags come out black.",
             (SD1_MODEL, Model(CHECKER, "safety checker of SD 1", "clip_vision")),
             finished(u=node("LoadSafetyChecker", name=CHECKER),
                      x=node("SafetyCheck", images=["d", 0], safety_checker=["u", 0], action="blacken", sensitivity=0.0))),
    Template("watermark", "Invisible watermark", "A few letters hidden in an enlarged picture, which can be read again.", (SD1_MODEL,),
             finished(u=node("ImageScale", image=["d", 0], upscale_method="lanczos", width=1024, height=1024, crop="disabled"),
                      x=node("InvisibleWatermark", images=["u", 0], text="Emulsion"))),
)  # fmt: skip
