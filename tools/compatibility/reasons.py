"""Why a node type of the ecosystem is not here. Every type that is missing has to be explained by a line of this table."""

from __future__ import annotations

import re

FAMILY = "needs the model family {}"
UNKNOWN = FAMILY + ", of which nothing is published that a net of ours could be checked against"
REASONS: tuple[tuple[str, str], ...] = (
    (r"WanAnimate2.*", FAMILY.format("Wan Animate 2")),
    (r"WanDancer.*", FAMILY.format("Wan Dancer")),
    (r"WanMove.*", FAMILY.format("Wan Move")),
    (r"LTX.*|LatentUpscaleModelLoader", FAMILY.format("LTX Video")),
    (r"Hunyuan3D.*|VAEDecodeHunyuan3D", FAMILY.format("Hunyuan 3D")),
    (r"Hunyuan.*|CLIPTextEncodeHunyuan.*|TextEncodeHunyuan.*", FAMILY.format("Hunyuan (pictures and video)")),
    (r".*HiDreamO1.*", UNKNOWN.format("HiDream O1")),
    (r".*MageFlow.*", UNKNOWN.format("Mage-Flow")),
    (r"PiD.*", UNKNOWN.format("PiD (a decoder of latents by diffusion in pixels)")),
    (r"CosmosImageToVideoLatent", FAMILY.format("Cosmos 1")),
    (r"StableCascade_.*", FAMILY.format("Stable Cascade")),
    (r"SVD_.*|SV3D_.*", FAMILY.format("Stable Video Diffusion")),
    (r".*AceStep.*|VAE(Encode|Decode)Audio.*", FAMILY.format("ACE Step and Stable Audio")),
    (r"TextGenerate|TextEncode.*", "needs a language model of a family that is not there"),
    (r"MoGePointMapToMesh", "makes meshes with textures, which are not there"),
    (r"SDPose.*", FAMILY.format("SDPose")),
    (r"RTDETR_.*", FAMILY.format("RT-DETR")),
    (r"Trellis2.*|Vae.*Trellis.*|EmptyTrellis2.*|BakeTextureFromVoxel", FAMILY.format("Trellis 2")),
    (r"(MiniMax|EmptyMiniMax).*", FAMILY.format("MiniMax")),
    (r"YuE2.*|EmptyYuE2.*", FAMILY.format("YuE 2")),
    (r"Kandinsky5.*|NormalizeVideoLatentStart|ReplaceVideoLatentFrames", FAMILY.format("Kandinsky 5")),
    (r"Pixal3D.*|Bernini.*", "belongs to a model family that is not there"),
    (r"BlockSparseAttention", "changes the attention of a family that is not there"),
    (r".*Mesh.*|Bake.*|Render.*|.*3DAdvanced|GenerateTracks", "works on what a family makes that is not there"),
    (r"PixelPerfectResolution|DWPreprocessor", "comes with the pack comfyui_controlnet_aux"),
    (r"DownloadAndLoadSAM2Model|Sam2Segmentation", "comes with the pack ComfyUI-segment-anything-2"),
    (r"DrawMaskOnImage|BlockifyMask|PointsEditor", "comes with the pack comfyui-kjnodes"),
)  # fmt: skip


def reason(type: str) -> str | None:
    """Why `type` is not here, as the rest of a sentence; None when nothing is known of it."""
    return next((text for pattern, text in REASONS if re.fullmatch(pattern, type)), None)
