"""Pictures, masks, files and folders, with core nodes used as a library."""

import os

import comfy.utils
import folder_paths
import torch
from comfy_extras.nodes_mask import ImageCompositeMasked, composite

import nodes
from nodes import MAX_RESOLUTION, CLIPTextEncode, SaveImage, VAEDecode, VAEEncode

folder_paths.add_model_folder_path("modelled_kind", os.path.join(folder_paths.models_dir, "modelled"))
folder_paths.folder_names_and_paths["modelled_tuple"] = ([os.path.join(folder_paths.models_dir, "tuple")], {".txt"})


class Fit:
    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image": ("IMAGE",), "width": ("INT", {"default": 32, "min": 1, "max": MAX_RESOLUTION}),
                "file": (folder_paths.get_filename_list("modelled_kind"),),
            },
            "optional": {"mask": ("MASK",)},
        }  # fmt: skip

    RETURN_TYPES = ("IMAGE", "MASK", "STRING")
    RETURN_NAMES = ("fitted", "mask", "path")
    FUNCTION = "fit"
    CATEGORY = "modelled/image"

    def fit(self, image, width, file, mask=None):
        bar = comfy.utils.ProgressBar(2)
        out = comfy.utils.common_upscale(image.movedim(-1, 1), width, width, "lanczos", "center").movedim(1, -1)
        bar.update(1)
        doubled = comfy.utils.tiled_scale(out.movedim(-1, 1), lambda t: t.repeat_interleave(2, 2).repeat_interleave(2, 3), 16, 16, 4, 2, 3)
        bar.update_absolute(2, 2, ("JPEG", comfy_picture(out), None))
        assert doubled.shape[-1] == 2 * width
        assert torch.allclose(doubled[:, :, ::2, ::2], out.movedim(-1, 1), atol=1e-5)
        mask = torch.ones(1, width, width) if mask is None else mask
        path = folder_paths.get_full_path("modelled_kind", file)
        return (out, mask, path)


def comfy_picture(image):
    from PIL import Image

    return Image.fromarray((image[0] * 255).byte().numpy())


class Paste:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"under": ("IMAGE",), "over": ("IMAGE",), "mask": ("MASK",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "paste"
    CATEGORY = "modelled/image"

    def paste(self, under, over, mask):
        (a,) = ImageCompositeMasked().composite(under, over, 4, 4, False, mask)
        b = composite(under.movedim(-1, 1), over.movedim(-1, 1), 4, 4, mask, 1).movedim(1, -1)
        assert torch.allclose(a, b)
        return (a,)


class Keep(SaveImage):
    """A subclass of the core's saving node, with a directory of its own."""

    def __init__(self):
        super().__init__()
        self.output_dir = folder_paths.get_temp_directory()
        self.type = "temp"
        self.prefix_append = "_kept"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",)}, "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}}

    FUNCTION = "keep"
    OUTPUT_NODE = True
    RETURN_TYPES = ()

    def keep(self, images, prompt=None, extra_pnginfo=None):
        return self.save_images(images, "modelled", prompt, extra_pnginfo)


class ThereAndBack:
    """Text to conditioning, picture to latent and back, by core nodes called as functions, and a pipe of them all."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"clip": ("CLIP",), "vae": ("VAE",), "image": ("IMAGE",)}}

    RETURN_TYPES = ("MODELLED_PIPE", "IMAGE")
    FUNCTION = "go"

    def go(self, clip, vae, image):
        (cond,) = CLIPTextEncode().encode(clip, "a star")
        again, pooled = clip.encode_from_tokens(clip.tokenize("a star"), return_pooled=True)
        assert torch.equal(cond[0][0], again) and torch.equal(cond[0][1]["pooled_output"], pooled)
        (latent,) = VAEEncode().encode(vae, image)
        (back,) = VAEDecode().decode(vae, latent)
        assert back.shape == image.shape
        assert nodes.NODE_CLASS_MAPPINGS["ImageInvert"]().invert(image)[0].max() <= 1
        return ((clip, vae, cond), back)


class FromPipe:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"pipe": ("MODELLED_PIPE",)}}

    RETURN_TYPES = ("CLIP", "VAE", "CONDITIONING")
    FUNCTION = "go"

    def go(self, pipe):
        clip, vae, cond = pipe
        clip = clip.clone()
        clip.clip_layer(-2)
        return (clip, vae, cond)


NODE_CLASS_MAPPINGS = {f"Modelled{c.__name__}": c for c in (Fit, Paste, Keep, ThereAndBack, FromPipe)}
