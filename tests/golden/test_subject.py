"""Subjects of pictures (BLIP-Diffusion): each net and a whole latent equal diffusers'.

diffusers 0.42 calls transformers' attention and CLIP encoder as transformers 4 declared them; `as_declared` translates the calls and leaves
the arithmetic to the libraries.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.pipelines.deprecated.blip_diffusion import modeling_blip2, modeling_ctx_clip
from diffusers.pipelines.deprecated.blip_diffusion.blip_image_processing import BlipImageProcessor
from torch import Tensor
from transformers import BertTokenizer, Blip2Config, CLIPTextConfig, CLIPTokenizer

from backend.base.errors import BadFile, BadInput, MissingFile, UnknownModel
from backend.control.load import load_control
from backend.diffusion.ksample import ksample
from backend.diffusion.sample import prepare_noise
from backend.encoders.clip.vocabulary import locate, read_merges, vocabulary
from backend.encoders.qformer.spec import load_subject_encoder
from backend.encoders.qformer.words import word_pieces
from backend.weights.save import save_safetensors
from nodes import loaders, subject
from tests.families import kinds
from tests.golden.test_controlnet import TINY, seeded
from tests.golden.whole import with_
from tests.nodes.bench import Bench

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "cat", "tea", "##pot", "a", "red", ",", "!", "cafe", "##s", "中"]
PROMPT, SUBJECT, TARGET, NEGATIVE = "swimming under water", "Red teapot", "cat", "blurry, dark"
SIDE, STEPS, SEED, CFG = 28, 4, 7, 3.0
NORMS = ("LayerNorm.weight", "norm.weight", "norm1.weight", "norm2.weight")


class OldAttention(modeling_blip2.Blip2QFormerAttention):
    def forward(self, x: Tensor, mask: Any = None, head_mask: Any = None, context: Any = None, context_mask: Any = None, **_: Any) -> Any:
        assert head_mask is None
        return super().forward(x, mask, context, context_mask), None


class OldEncoder(modeling_ctx_clip.CLIPEncoder):
    def forward(self, inputs_embeds: Tensor, attention_mask: Any, causal_attention_mask: Tensor, **_: Any) -> Any:
        assert attention_mask is None
        return super().forward(inputs_embeds, causal_attention_mask)


def inverted(model: Any, mask: Tensor) -> Tensor:
    return (1.0 - mask[:, None, None, :]) * torch.finfo(mask.dtype).min


@pytest.fixture(scope="module", autouse=True)
def as_declared() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_blip2, "Blip2QFormerAttention", OldAttention)
        patch.setattr(modeling_blip2.Blip2QFormerModel, "get_head_mask", lambda self, *_: None, raising=False)
        patch.setattr(modeling_blip2.Blip2QFormerModel, "invert_attention_mask", inverted, raising=False)
        patch.setattr(modeling_ctx_clip, "CLIPEncoder", OldEncoder)
        yield


def lively(net: Any) -> Any:
    for name, parameter in net.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if name.endswith(NORMS) else 0.0, 0.1)
    return net.eval()


class Twin:
    """The parts of a pipeline, and its folder in the published layout below models/diffusers."""

    def __init__(self, bench: Bench) -> None:
        torch.manual_seed(3)
        self.bench, self.folder = bench, bench.folders.models / "diffusers" / "blip"
        sd = kinds.make("sd1")
        self.unet, self.vae = sd.unet, sd.vae
        sd.folder(self.folder)
        (self.folder / "qformer").mkdir()
        (self.folder / "qformer" / "vocab.txt").write_text("\n".join(WORDS) + "\n", "utf-8")
        config = Blip2Config(
            vision_config={
                "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": SIDE, "patch_size": 14,
                "intermediate_size": 80, "hidden_act": "quick_gelu",
            },
            qformer_config={
                "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": len(WORDS) + 1,
                "max_position_embeddings": 12, "encoder_hidden_size": 48, "cross_attention_frequency": 2,
            },
            num_query_tokens=5, tokenizer=str(self.folder / "qformer"),
        )  # fmt: skip
        self.qformer = lively(modeling_blip2.Blip2QFormerModel(config))
        self.qformer.save_pretrained(self.folder / "qformer")
        text = CLIPTextConfig(
            hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=1, vocab_size=49408, hidden_act="quick_gelu"
        )
        self.text = lively(modeling_ctx_clip.ContextCLIPTextModel(text))
        self.text.save_pretrained(self.folder / "text_encoder")
        self.merges = read_merges(locate())

    def pipeline(self, controlnet: Any = None) -> Any:
        scheduler = diffusers.DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, timestep_spacing="trailing"
        )
        parts = {
            "tokenizer": CLIPTokenizer(vocab=vocabulary(self.merges), merges=self.merges), "text_encoder": self.text, "vae": self.vae,
            "unet": self.unet, "scheduler": scheduler, "qformer": self.qformer,
            "image_processor": BlipImageProcessor(size={"height": SIDE, "width": SIDE}),
        }  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if controlnet is None:
                made = diffusers.BlipDiffusionPipeline(**parts)
            else:
                made = diffusers.BlipDiffusionControlNetPipeline(**parts, controlnet=controlnet)
        made.set_progress_bar_config(disable=True)
        return made


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Twin:
    return Twin(Bench(tmp_path_factory.mktemp("subject")))


def pictures(count: int = 1) -> Tensor:
    """Of whole colour values, as files have them."""
    return (torch.rand(count, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(1)) * 255).round() / 255


def reference(twin: Twin, images: Tensor) -> Tensor:
    pixels = twin.pipeline().image_processor.preprocess([(i * 255).byte().numpy() for i in images], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return twin.qformer(image_input=pixels, text_input=[SUBJECT] * len(images), return_dict=False)


def test_subject_of_pictures(twin: Twin) -> None:
    encoder = load_subject_encoder(twin.folder)
    images = pictures(2)
    got = encoder.subject(images, SUBJECT, twin.bench.services.pool)
    expected = reference(twin, images)
    assert got.shape == expected.shape == (2, 5, 64)
    assert (got - expected).abs().max() < 1e-5
    assert expected.std(0).max() > 1e-3  # pictures matter
    assert (encoder.subject(images, "dog", twin.bench.services.pool) - got).abs().max() > 1e-3  # and so do words


def test_vision_tower(twin: Twin) -> None:
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad(), twin.bench.services.pool.lease(load_subject_encoder(twin.folder).loadable) as net:
        expected = twin.qformer.visual_encoder(pixels).last_hidden_state
        assert (net.visual_encoder(pixels) - expected).abs().max() < 1e-5
    assert expected.std(0).max() > 1e-2


def encoded(twin: Twin, repeats: int) -> Any:
    ctx = twin.bench.context()
    clip = loaders.diffusers_loader(ctx, model_path="blip").CLIP
    encoder = subject.load_subject(ctx, model_path="blip")
    return subject.subject_text_encode(
        ctx, clip=clip, subject_encoder=encoder, image=pictures(), text=f" {PROMPT} ", source_subject=SUBJECT, target_subject=TARGET,
        repeats=repeats,
    )  # fmt: skip


@pytest.mark.parametrize("repeats", [1, 20])
def test_prompt_with_a_subject(twin: Twin, repeats: int) -> None:
    pipeline = twin.pipeline()
    prompt = pipeline._build_prompt([PROMPT], [TARGET], prompt_reps=repeats)
    with torch.no_grad():
        expected = pipeline.encode_prompt(reference(twin, pictures()), prompt, "cpu")
    ((got, _),) = encoded(twin, repeats)
    assert got.shape == expected.shape == (1, 77, 64)
    assert (got - expected).abs().max() < 1e-5


@pytest.mark.parametrize("steered", [False, True], ids=["alone", "with a ControlNet"])
def test_whole_latent(steered: bool, twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = seeded(lambda: diffusers.ControlNetModel(**TINY)) if steered else None
    pipeline, noise, final = twin.pipeline(net), prepare_noise(torch.zeros(1, 4, 8, 8), SEED), []
    decode = twin.vae.decode

    def seen(latent: Tensor, **options: Any) -> Any:
        final.append(latent * twin.vae.config.scaling_factor)
        return decode(latent, **options)

    monkeypatch.setattr(twin.vae, "decode", seen)
    shown = pictures()[:, :16, :16]
    steering = {"condtioning_image": (shown[0] * 255).byte().numpy()} if steered else {}
    pipeline(
        [PROMPT], (pictures()[0] * 255).byte().numpy(), source_subject_category=[SUBJECT], target_subject_category=[TARGET], latents=noise,
        guidance_scale=CFG, height=16, width=16, num_inference_steps=STEPS, neg_prompt=NEGATIVE, output_type="pt", **steering,
    )  # fmt: skip
    loaded = loaders.diffusers_loader(twin.bench.context(), model_path="blip")
    pool = twin.bench.services.pool
    positive, negative = encoded(twin, 20), loaded.CLIP.conditioning(NEGATIVE, pool)
    if net is not None:
        net.save_pretrained(tmp_path / "net")
        control = load_control(tmp_path / "net", twin.bench.services).applied(shown, 1.0)
        positive, negative = with_(positive, control=control), with_(negative, control=control)
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    got = ksample(loaded.MODEL, SEED, STEPS, CFG, "ddim", "simple", positive, negative, latent, pool=pool)["samples"]
    assert (loaded.MODEL.family.latent.process_in(got) - final[0]).abs().max() < 1e-4


def test_several_pictures_count_as_their_mean(twin: Twin) -> None:
    encoder, pool = load_subject_encoder(twin.folder), twin.bench.services.pool
    ctx = twin.bench.context()
    clip = loaders.diffusers_loader(ctx, model_path="blip").CLIP
    ask = {"clip": clip, "subject_encoder": encoder, "text": PROMPT, "source_subject": "dog", "target_subject": "dog", "repeats": 1}
    got = [subject.subject_text_encode(ctx, image=pictures(2)[part], **ask)[0][0] for part in ([0], [0, 0], [0, 1])]
    assert (got[0] - got[1]).abs().max() < 1e-5 < (got[0] - got[2]).abs().max()
    wide = encoder.subject(torch.rand(1, 40, 90, 4), "dog", pool)
    assert wide.shape == (1, 5, 64) and bool(wide.isfinite().all())


@pytest.mark.parametrize("text", ["Red teapots, a CAFÉ!", "unheard 中 dog", "", "dogdog cat"])
def test_words(twin: Twin, text: str) -> None:
    listed = twin.folder / "qformer" / "vocab.txt"
    assert word_pieces(listed).encode(text).ids == BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)})(text).input_ids


def test_wrong_parts_are_said(twin: Twin, tmp_path: Path) -> None:
    encoder, pool = load_subject_encoder(twin.folder), twin.bench.services.pool
    with pytest.raises(BadInput, match="there is room for 12"):
        encoder.subject(pictures(), "dog " * 20, pool)
    with pytest.raises(MissingFile, match="no folder qformer"):
        load_subject_encoder(tmp_path)
    part = tmp_path / "qformer"
    part.mkdir()
    state = {key: value.contiguous().clone() for key, value in twin.qformer.state_dict().items()}
    config = {"vision_config": {"num_attention_heads": 4}, "qformer_config": {"num_attention_heads": 4}}
    (part / "config.json").write_text(json.dumps(config))
    save_safetensors(part / "model.safetensors", state)
    with pytest.raises(MissingFile, match="no word list") as missing:
        load_subject_encoder(tmp_path)
    assert "bert-base-uncased" in missing.value.hint
    (part / "vocab.txt").write_text("\n".join([*WORDS, "more", "still"]))
    with pytest.raises(BadFile, match="more than the 17 pieces"):
        load_subject_encoder(tmp_path)
    (part / "vocab.txt").write_text("dog\ncat")
    with pytest.raises(BadFile, match=r"no \[CLS\]"):
        load_subject_encoder(tmp_path)
    (part / "vocab.txt").write_text("\n".join(WORDS))
    assert load_subject_encoder(tmp_path).sizes == encoder.sizes
    config["vision_config"]["num_attention_heads"] = 7
    (part / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadFile, match="7 heads for a width of 48"):
        load_subject_encoder(tmp_path)
    save_safetensors(part / "model.safetensors", {"a": torch.zeros(1)})
    with pytest.raises(UnknownModel, match="no subject encoder"):
        load_subject_encoder(tmp_path)
