"""Changes to how a model runs: cheaper or different attention, other resolutions, masks by degree, tiling."""

from __future__ import annotations

from functools import partial

from backend.diffusion.patches import deep_cache, easy_cache, freeu, shrink, tgate, tokens, weights
from backend.diffusion.patches.differential import differential
from backend.diffusion.patches.seamless import seamless, wrapped
from backend.engine.context import Context
from backend.graph.declare import Bool, Choice, Combo, Float, Int, node
from backend.imaging.resize import resize
from nodes.types import Clip, Image, Latent, Model, Vae

UNET = "model_patches/unet"
v3 = partial(node, form="v3")
ours = partial(node, category=UNET, module="nodes")
attention = partial(
    node,
    category="_for_testing/attention_experiments",
    module="comfy_extras.nodes_attention_multiply",
    form="v3",
    experimental=True,
)
METHODS = ["bicubic", "nearest-exact", "bilinear", "area", "bislerp"]


def _factor(default: float = 1.0) -> float:
    widget: float = Float(default, min=0.0, max=10.0, step=0.01)
    return widget


@node("FreeU", category=UNET, module="comfy_extras.nodes_freelunch")
def freeu_1(
    ctx: Context, *, model: Model, b1: float = _factor(1.1), b2: float = _factor(1.2), s1: float = _factor(0.9), s2: float = _factor(0.2)
) -> Model:
    """Strengthen a UNet's backbone features and weaken the low frequencies of its skips (Si et al. 2023)."""
    return freeu.freeu(model, b1, b2, s1, s2, version=1)


@node("FreeU_V2", category=UNET, module="comfy_extras.nodes_freelunch")
def freeu_2(
    ctx: Context, *, model: Model, b1: float = _factor(1.3), b2: float = _factor(1.4), s1: float = _factor(0.9), s2: float = _factor(0.2)
) -> Model:
    """As FreeU, with the backbone strengthened where the features have structure."""
    return freeu.freeu(model, b1, b2, s1, s2)


@v3("HyperTile", category=UNET, module="comfy_extras.nodes_hypertile")
def hypertile(
    ctx: Context,
    *,
    model: Model,
    tile_size: int = Int(256, min=1, max=2048),
    swap_size: int = Int(2, min=1, max=128),
    max_depth: int = Int(0, min=0, max=10),
    scale_depth: bool = Bool(False),
) -> Model:
    """Self-attention within tiles: much faster on large pictures, nearly the same result."""
    return tokens.hypertile(model, tile_size, swap_size, max_depth, scale_depth)


@v3("TomePatchModel", category=UNET, module="comfy_extras.nodes_tomesd")
def tome_patch_model(ctx: Context, *, model: Model, ratio: float = Float(0.3, min=0.0, max=1.0, step=0.01)) -> Model:
    """Let alike tokens attend as one (token merging, Bolya & Hoffman 2023): faster, a little less detail."""
    return tokens.merge_tokens(model, ratio)


@v3(
    "PatchModelAddDownscale", title="PatchModelAddDownscale (Kohya Deep Shrink)", category=UNET, module="comfy_extras.nodes_model_downscale"
)
def patch_model_add_downscale(
    ctx: Context,
    *,
    model: Model,
    block_number: int = Int(3, min=1, max=32, step=1),
    downscale_factor: float = Float(2.0, min=0.1, max=9.0, step=0.001),
    start_percent: float = Float(0.0, min=0.0, max=1.0, step=0.001),
    end_percent: float = Float(0.35, min=0.0, max=1.0, step=0.001),
    downscale_after_skip: bool = Bool(True),
    downscale_method: str = Combo(METHODS),
    upscale_method: str = Combo(METHODS),
) -> Model:
    """Begin sampling at a lower resolution inside the net, so that pictures larger than the training size keep one subject."""
    return shrink.deep_shrink(
        model, block_number, downscale_factor, start_percent, end_percent, downscale_after_skip,
        partial(resize, method=downscale_method), partial(resize, method=upscale_method),
    )  # fmt: skip


@v3(
    "DifferentialDiffusion",
    title="Differential Diffusion",
    category="_for_testing",
    module="comfy_extras.nodes_differential_diffusion",
    experimental=True,
)
def differential_diffusion(
    ctx: Context, *, model: Model, strength: float = Float(1.0, min=0.0, max=1.0, step=0.01, optional=True)
) -> Model:
    """Read a grey noise mask as how much each place may change (Levin & Fried 2023)."""
    return differential(model, strength)


def _scaled_attention(model: Model, name: str, q: float, k: float, v: float, out: float) -> Model:
    factors = {f"{name}.to_q": q, f"{name}.to_k": k, f"{name}.to_v": v, f"{name}.to_out.0": out}
    return model.patched(*weights.scaled(model.loadable.source, factors))


@attention("UNetSelfAttentionMultiply")
def unet_self_attention_multiply(
    ctx: Context, *, model: Model, q: float = _factor(), k: float = _factor(), v: float = _factor(), out: float = _factor()
) -> Model:
    """Scale the projections of self-attention."""
    return _scaled_attention(model, "attn1", q, k, v, out)


@attention("UNetCrossAttentionMultiply")
def unet_cross_attention_multiply(
    ctx: Context, *, model: Model, q: float = _factor(), k: float = _factor(), v: float = _factor(), out: float = _factor()
) -> Model:
    """Scale the projections of attention to the text."""
    return _scaled_attention(model, "attn2", q, k, v, out)


@attention("CLIPAttentionMultiply")
def clip_attention_multiply(
    ctx: Context, *, clip: Clip, q: float = _factor(), k: float = _factor(), v: float = _factor(), out: float = _factor()
) -> Clip:
    """Scale the projections of attention in a text encoder."""
    factors = {"self_attn.q_proj": q, "self_attn.k_proj": k, "self_attn.v_proj": v, "self_attn.out_proj": out}
    return clip.patched(*weights.scaled(clip.loadable.source, factors))


@attention("UNetTemporalAttentionMultiply")
def unet_temporal_attention_multiply(
    ctx: Context,
    *,
    model: Model,
    self_structural: float = _factor(),
    self_temporal: float = _factor(),
    cross_structural: float = _factor(),
    cross_temporal: float = _factor(),
) -> Model:
    """Scale the output of attention within frames (structural) and between frames (temporal)."""
    keys = list(model.loadable.source)
    temporal = [key for key in keys if ".time_stack." in key]
    spatial = [key for key in keys if ".time_stack." not in key]
    return model.patched(
        *weights.scaled(spatial, {"attn1.to_out.0": self_structural, "attn2.to_out.0": cross_structural}),
        *weights.scaled(temporal, {"attn1.to_out.0": self_temporal, "attn2.to_out.0": cross_temporal}),
    )


def _cache_threshold() -> float:
    widget: float = Float(0.2, min=0.0, max=3.0, step=0.01)
    return widget


def _share(default: float) -> float:
    widget: float = Float(default, min=0.0, max=1.0, step=0.01)
    return widget


@v3("EasyCache", title="EasyCache", category="advanced/debug/model", module="comfy_extras.nodes_easycache", experimental=True)
def easy_cache_node(
    ctx: Context,
    *,
    model: Model,
    reuse_threshold: float = _cache_threshold(),
    start_percent: float = _share(0.15),
    end_percent: float = _share(0.95),
    verbose: bool = Bool(False),
) -> Model:
    """Skip the net at steps where its answer would hardly change (Zhou et al. 2025); each prompt is watched on its own."""
    return easy_cache.each_answer(model, reuse_threshold, start_percent, end_percent, ctx.log if verbose else None)


@v3("LazyCache", title="LazyCache", category="advanced/debug/model", module="comfy_extras.nodes_easycache", experimental=True)
def lazy_cache_node(
    ctx: Context,
    *,
    model: Model,
    reuse_threshold: float = _cache_threshold(),
    start_percent: float = _share(0.15),
    end_percent: float = _share(0.95),
    verbose: bool = Bool(False),
) -> Model:
    """As EasyCache, but all prompts of a step are skipped or run together, whatever net it is."""
    return easy_cache.whole_steps(model, reuse_threshold, start_percent, end_percent, ctx.log if verbose else None)


@ours("DeepCache")
def deep_cache_node(
    ctx: Context,
    *,
    model: Model,
    interval: int = Int(3, min=1, max=100, tooltip="The whole net runs at every so many steps; between them only its outer blocks do."),
    depth: int = Int(2, min=1, max=12, tooltip="How many outer blocks on each side always run."),
    start_percent: float = _share(0.0),
    end_percent: float = _share(1.0),
) -> Model:
    """Reuse a UNet's deep features between steps (Ma et al. 2023): about twice as fast, slightly softer."""
    return deep_cache.deep_cache(model, interval, depth, start_percent, end_percent)


@ours("TGate")
def tgate_node(ctx: Context, *, model: Model, gate_percent: float = _share(0.4)) -> Model:
    """After this share of sampling, keep what attention to the text gave, and stop running the negative prompt (Zhang et al. 2024)."""
    return tgate.tgate(model, gate_percent)


@ours("SeamlessTiling")
def seamless_tiling(ctx: Context, *, model: Model, direction: str = Choice(["both", "horizontal", "vertical"])) -> Model:
    """Make pictures whose opposite borders fit together. Decode them with VAE Decode (Seamless)."""
    return seamless(model, direction != "horizontal", direction != "vertical")


@node("VAEDecodeSeamless", title="VAE Decode (Seamless)", category="latent", module="nodes")
def vae_decode_seamless(ctx: Context, *, samples: Latent, vae: Vae, direction: str = Choice(["both", "horizontal", "vertical"])) -> Image:
    """Decode latents so that opposite borders of the picture fit together."""
    pool = ctx.services.pool
    with pool.lease(vae.loadable) as net, wrapped(net, direction != "horizontal", direction != "vertical"):
        return vae.decode(samples["samples"], pool)
