"""SAM 3 against transformers, in every naming of its files; and what its node makes of good and bad requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.encoders.phrases.handle import PhraseHandle, phrases
from backend.families import shelf
from backend.families.load import load_checkpoint
from backend.families.sam3.finder import Phrase, View
from backend.families.sam3.interactive import BOTTOM_RIGHT, ON, TOP_LEFT
from backend.families.sam3.sizes import Sam3Sizes
from backend.memory.pool import Pool
from backend.weights.file import Entry
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from nodes.conditioning import clip_text_encode
from nodes.loaders import checkpoint_loader_simple, clip_loader, unet_loader
from nodes.model_merging import checkpoint_save, clip_save, model_save
from nodes.sam3 import sam3_detect
from nodes.sampling import ksampler
from tests.families import sam3s, tiny
from tests.nodes.bench import Bench

SIZES = Sam3Sizes(
    width=64, layers=8, mlp=96, patch=4, grid=2, class_place=False, hidden=32, text=64, feed=48, heads=4, queries=5, encoder=2, decoder=2,
    geometry=2, roi=3, two_way=2, two_way_feed=48, quality=32,
)  # fmt: skip
BOXES = torch.tensor([[[0.5, 0.5, 0.4, 0.3], [0.3, 0.6, 0.55, 0.75]]])
KINDS = ("3.1", "3", "transformers", "finder")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("sam3")
    return {kind: sam3s.written(home / f"{kind}.safetensors", kind) for kind in KINDS}


@pytest.fixture(scope="module")
def seen() -> tuple[Tensor, Any]:
    torch.manual_seed(1)
    pixels = torch.randn(1, 3, sam3s.SIDE, sam3s.SIDE)
    with torch.no_grad():
        return pixels, sam3s.twins()[0].get_vision_features(pixels)


def near(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and float((a - b).detach().abs().max()) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_every_naming_is_recognised(kind: str, files: dict[str, Path], tmp_path: Path) -> None:
    loaded = load_checkpoint(files[kind], tiny.services(tmp_path))
    assert loaded.model is not None and isinstance(loaded.clip, PhraseHandle) and loaded.vae is None
    assert loaded.model.sizes.interactive == (kind != "finder") and loaded.model.sizes.class_place == kind.startswith("3")
    header = {name: Entry(tuple(value.shape), value.dtype, value.nbytes) for name, value in loaded.model.loadable.source.items()}
    assert [family.name for family in shelf() if family.signature.matches(header)] == [loaded.model.family.name] == ["SAM 3"]
    if kind == "transformers":
        assert loaded.model.sizes == SIZES
    every = load_checkpoint(files["transformers"], tiny.services(tmp_path)).model
    assert every is not None
    for name, value in loaded.model.loadable.source.items():
        theirs = every.loadable.source[name]
        assert torch.equal(value[:, -4:] if name.endswith("pos_embed") else value, theirs), name


@pytest.mark.parametrize("examples", [None, BOXES], ids=["text", "text and examples"])
def test_what_is_found(examples: Tensor | None, files: dict[str, Path], seen: tuple[Tensor, Any], tmp_path: Path) -> None:
    finder = sam3s.twins()[0]
    model = load_checkpoint(files["3.1"], tiny.services(tmp_path)).model
    assert model is not None
    ids, real = torch.randint(1, 1000, (1, 32)), (torch.arange(32) < 7)[None]
    labels = None if examples is None else torch.ones(examples.shape[:2], dtype=torch.long)
    with torch.no_grad(), Pool("cpu").lease(model.loadable) as net:
        text = finder.get_text_features(input_ids=ids, attention_mask=real.long()).last_hidden_state
        levels = net.pyramid(net.look(seen[0]))
        found = net.detect(levels, text, real, examples)
        theirs = finder(vision_embeds=seen[1], input_ids=ids, attention_mask=real.long(), input_boxes=examples, input_boxes_labels=labels)
        assert all(near(a, b) for a, b in zip(levels, seen[1].fpn_hidden_states, strict=False))
        assert near(found.boxes, theirs.pred_boxes) and near(found.scores, theirs.pred_logits)
        assert near(found.present, theirs.presence_logits[:, 0]) and near(net.masks(found, torch.arange(5)), theirs.pred_masks[0])
        assert near(net.masks(found, torch.tensor([3])), theirs.pred_masks[0, 3:4])


def test_the_token_of_examples_without_any(files: dict[str, Path], seen: tuple[Tensor, Any], tmp_path: Path) -> None:
    """The authors always show it; transformers leaves it out without boxes, but its encoder makes the same."""
    finder, (pixels, theirs) = sam3s.twins()[0], seen
    model = load_checkpoint(files["3"], tiny.services(tmp_path)).model
    assert model is not None
    none, kinds = torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.long)
    with torch.no_grad(), Pool("cpu").lease(model.loadable) as net:
        levels = net.pyramid(net.look(pixels))
        at = theirs.fpn_position_encoding[2].flatten(2).transpose(1, 2)
        finder.geometry_encoder._encode_boxes = lambda *args: (torch.zeros(1, 0, sam3s.HIDDEN), kinds.bool())
        try:
            expected = finder.geometry_encoder(none, kinds.bool(), kinds, theirs.fpn_hidden_states[:3], theirs.fpn_position_encoding[:3])
        finally:
            del finder.geometry_encoder._encode_boxes
        assert near(net.geometry(none, levels[-1], at), expected.last_hidden_state)


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("prompt", ["point", "box", "mask"])
def test_what_is_segmented(prompt: str, several: bool, files: dict[str, Path], seen: tuple[Tensor, Any], tmp_path: Path) -> None:
    model = load_checkpoint(files["3.1"], tiny.services(tmp_path)).model
    assert model is not None
    mask = torch.randn(1, 1, 24, 24) if prompt == "mask" else None
    told = {
        "point": {"input_points": torch.tensor([[[[3.0, 5.0]]]]), "input_labels": torch.tensor([[[1]]])},
        "box": {"input_boxes": torch.tensor([[[2.0, 3.0, 17.0, 20.0]]])},
        "mask": {"input_masks": mask},
    }[prompt]
    points = {"point": torch.tensor([[[3.0, 5.0]]]), "box": torch.tensor([[[2.0, 3.0], [17.0, 20.0]]]), "mask": None}[prompt]
    kinds = {"point": torch.tensor([[ON]]), "box": torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]]), "mask": None}[prompt]
    with torch.no_grad(), Pool("cpu").lease(model.loadable) as net:
        found = net.segment(net.pyramid(net.look(seen[0]), interactive=True), points, kinds, mask, several)
        theirs = sam3s.twins()[1](pixel_values=seen[0], multimask_output=several, **told)
    assert near(found.logits, theirs.pred_masks[0]) and near(found.quality, theirs.iou_scores[0])
    assert near(found.present, theirs.object_score_logits[0, 0])


@pytest.mark.parametrize("kind", ["3.1", "transformers"])
def test_phrases_are_read_as_by_transformers(kind: str, files: dict[str, Path], tmp_path: Path) -> None:
    clip = load_checkpoint(files[kind], tiny.services(tmp_path)).clip
    assert isinstance(clip, PhraseHandle)
    tokens = clip.tokenize("window panels: 4, (a red cat:2.6)")["sam3"]
    encoded = clip.encoded({"sam3": tokens}, Pool("cpu"))
    assert encoded.extra["max_detections"] == (4, 3) and encoded.cond.shape == (1, 64, 64)
    real = encoded.extra["attention_mask"].reshape(2, 32)
    assert real.sum(1).tolist() == [4, 5]
    for i, chunk in enumerate(tokens):
        ids = torch.tensor([[token for token, _ in chunk]])
        theirs = sam3s.twins()[0].get_text_features(input_ids=ids, attention_mask=real[i : i + 1].long()).last_hidden_state
        assert near(encoded.cond[:, 32 * i : 32 * (i + 1)][:, real[i]], theirs[:, real[i]])


def test_phrases() -> None:
    assert phrases("eye:2, hat , :3,a:b, 10:30 clock:0, x:99999, y:" + "9" * 400) == [
        ("eye", 2), ("hat", 1), (":3", 1), ("a:b", 1), ("10:30 clock", 1), ("x", 1000),
        ("y", 1000),
    ]  # fmt: skip
    assert phrases(" , ,") == []


class Ready:
    """A bench with one file on it."""

    def __init__(self, home: Path, file: Path) -> None:
        self.bench = Bench(home)
        checkpoints = home / "models" / "checkpoints"
        checkpoints.mkdir(parents=True)
        (checkpoints / "sam3.safetensors").symlink_to(file)
        self.ctx = self.bench.context()
        self.model, self.clip, self.vae = checkpoint_loader_simple(self.ctx, ckpt_name="sam3.safetensors")
        torch.manual_seed(0)
        self.image = torch.rand(2, 40, 50, 3)

    def detect(self, text: str | None = None, **more: Any) -> Any:
        told = {"threshold": 0.0, "refine_iterations": 0, "individual_masks": False, **more}
        cond = None if text is None else clip_text_encode(self.ctx, text=text, clip=self.clip)
        return sam3_detect(self.ctx, **{"model": self.model, "image": self.image, "conditioning": cond, **told})


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Path]) -> Ready:
    return Ready(tmp_path_factory.mktemp("ready"), files["3.1"])


def test_a_picture_and_a_text(ready: Ready) -> None:
    masks, boxes = ready.detect("cat:2, dog", individual_masks=True)
    assert masks.shape == (6, 40, 50) and set(masks.unique().tolist()) <= {0.0, 1.0} and [len(each) for each in boxes] == [3, 3]
    union, same = ready.detect("cat:2, dog")
    assert same == boxes and torch.equal(union, masks.reshape(2, 3, 40, 50).amax(1))
    cats = [box["score"] for box in boxes[0][:2]]
    assert cats == sorted(cats, reverse=True) and 0 < cats[0] < 1
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 50 + 1e-3 and box["y"] + box["height"] <= 40 + 1e-3 for box in boxes[0])
    refined, _ = ready.detect("cat:2, dog", individual_masks=True, refine_iterations=2)
    assert bool((refined >= masks).all()) and float(refined.sum()) > float(masks.sum())
    assert ready.bench.steps()[-1].value == 2


def test_masks_are_those_of_transformers(ready: Ready) -> None:
    """From a picture, a phrase and an example to masks and boxes in pixels, the surest first."""
    masks, boxes = ready.detect("cat:5", bboxes=[{"x": 5, "y": 10, "width": 20, "height": 30}], individual_masks=True)
    pixels = F.interpolate(ready.image.movedim(-1, 1), (sam3s.SIDE, sam3s.SIDE), mode="bilinear", antialias=True) * 2 - 1
    ids = torch.tensor([[token for token, _ in ready.clip.tokenize("cat")["sam3"][0]]])
    example = torch.tensor([[[0.3, 0.625, 0.4, 0.75]]])
    for i in range(2):
        with torch.no_grad():
            theirs = sam3s.twins()[0](
                pixel_values=pixels[i : i + 1], input_ids=ids, attention_mask=(torch.arange(32) < 3)[None].long(), input_boxes=example,
                input_boxes_labels=torch.ones(1, 1, dtype=torch.long),
            )  # fmt: skip
        sure = theirs.pred_logits[0].sigmoid() * theirs.presence_logits[0].sigmoid()
        order = sure.argsort(descending=True)
        assert near(torch.tensor([box["score"] for box in boxes[i]]), sure[order])
        sides = torch.tensor([[box[key] for key in ("x", "y", "width", "height")] for box in boxes[i]])
        corners = theirs.pred_boxes[0, order].clamp(0, 1) * torch.tensor([50.0, 40.0, 50.0, 40.0])
        assert float((sides - torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)).abs().max()) < 1e-3
        full = F.interpolate(theirs.pred_masks[:, order], (40, 50), mode="bilinear")[0]
        odd = masks[5 * i : 5 * i + 5].bool() != (full > 0)
        assert not bool((odd & (full.abs() > 1e-4)).any())


def test_nothing_is_found(ready: Ready) -> None:
    for individual in (False, True):
        masks, boxes = ready.detect("cat", threshold=1.0, individual_masks=individual)
        assert masks.shape == (2, 40, 50) and not masks.any() and boxes == [[], []]


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 3, 700, 3), (1, 64, 8, 4)])
def test_pictures_of_any_shape(shape: tuple[int, ...], ready: Ready) -> None:
    masks, _ = ready.detect("cat", image=torch.rand(shape), refine_iterations=1)
    assert masks.shape == shape[:3]
    assert ready.detect(positive_coords='[{"x": 0, "y": 0}]', image=torch.rand(shape)).masks.shape == shape[:3]


def test_points_and_boxes(ready: Ready) -> None:
    box = {"x": 3, "y": 4, "width": 20, "height": 22}
    one = ready.detect(bboxes=box, individual_masks=True, refine_iterations=1)
    assert one.masks.shape == (2, 40, 50) and all(len(each) == 1 for each in one.bboxes)
    each = ready.detect(bboxes=[[box], [box, {**box, "x": 20}]], individual_masks=True, refine_iterations=1)
    assert torch.equal(each.masks[:2], one.masks)
    point = ready.detect(positive_coords='[{"x": 5, "y": 6}, {"x": 9, "y": 6}]', negative_coords="[[30, 30]]", refine_iterations=3)
    assert point.masks.shape == (2, 40, 50) and len(point.bboxes[0]) == 1
    assert len(ready.detect("cat:5", bboxes=box, positive_coords="[[1, 1]]", threshold=0.1).bboxes[0]) == 6
    assert ready.detect("cat", bboxes=box).bboxes != ready.detect("cat").bboxes


def test_boxes_end_with_the_picture(ready: Ready) -> None:
    """And so does what they cost."""
    over, whole = ({"x": -x, "y": -x, "width": 50 + 2 * x, "height": 40 + 2 * x} for x in (400_000, 0))
    assert ready.detect("cat", bboxes=over).bboxes == ready.detect("cat", bboxes=whole).bboxes


def test_grey_pictures(ready: Ready) -> None:
    grey = torch.rand(1, 20, 20, 1)
    assert ready.detect("cat", image=grey).bboxes == ready.detect("cat", image=grey.expand(-1, -1, -1, 3)).bboxes


def test_a_mask_is_refined_where_it_is(ready: Ready, files: dict[str, Path]) -> None:
    """A rough mask is cut at the edges of what is looked at closely."""
    with torch.no_grad(), ready.bench.services.pool.lease(ready.model.loadable) as net:
        view = View(net, ready.image[0], torch.device("cpu"), torch.float32)
        rough = torch.linspace(-20, 20, 24).repeat(24, 1)[None]
        whole, right = view._cut(rough, 0, 0, 50, 40), view._cut(rough, 25, 0, 50, 40)
        assert torch.allclose(whole[0], rough, atol=1e-4) and float(right.min()) > 0 and right.shape == whole.shape
        text, real = torch.zeros(1, 32, 64), torch.ones(1, 32, dtype=torch.bool)
        assert len(list(view.find(Phrase(text, real, 3), [], 0.0, 1))) == 3


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "nothing to look for"),
        ({"text": " , "}, "nothing to look for"),
        ({"conditioning": [[torch.zeros(1, 77, 768), {"pooled_output": None}]]}, "not encoded as SAM 3 reads it"),
        ({"text": "cat", "bboxes": "cat"}, "no box"),
        ({"text": "cat", "bboxes": [{"x": 1, "y": 1, "width": 0, "height": 5}]}, "no area"),
        ({"text": "cat", "bboxes": [{"x": float("nan"), "y": 1, "width": 2, "height": 5}]}, "no area"),
        ({"text": "cat", "bboxes": [{"x": 10**400, "y": 1, "width": 2, "height": 5}]}, "no box"),
        ({"bboxes": [{"x": 50, "y": 1, "width": 2, "height": 5}]}, "outside of the picture, which has 50 x 40"),
        ({"text": "cat", "bboxes": [[], [], []]}, "boxes for 3 pictures, and 2 pictures"),
        ({"positive_coords": "cat"}, "no list of points"),
        ({"positive_coords": '[{"x": 1}]'}, "no list of points"),
        ({"negative_coords": "[[1, 2, 3]]"}, "no list of points"),
        ({"positive_coords": "[[1e9, 3]]"}, "in no picture"),
        ({"positive_coords": f"[[1{'0' * 400}, 3]]"}, "no list of points"),
        ({"positive_coords": "[" * 100_000}, "no list of points"),
    ],
)
def test_requests_that_make_no_sense(told: dict[str, Any], said: str, ready: Ready) -> None:
    if "conditioning" in told:
        with pytest.raises(BadInput, match=said):
            sam3_detect(ready.ctx, model=ready.model, image=ready.image, threshold=0.5, refine_iterations=0, individual_masks=False, **told)
        return
    with pytest.raises(BadInput, match=said):
        ready.detect(**told)


def test_models_of_other_kinds(ready: Ready, files: dict[str, Path], tmp_path: Path) -> None:
    other = load_checkpoint(tiny.make().single(tmp_path / "sd.safetensors"), tiny.services(tmp_path))
    with pytest.raises(BadInput, match="Stable Diffusion 1 cannot find things"):
        ready.detect("cat", model=other.model)
    assert other.clip is not None
    cond = clip_text_encode(ready.ctx, text="cat", clip=other.clip)
    with pytest.raises(BadInput, match="not encoded as SAM 3 reads it"):
        sam3_detect(ready.ctx, model=ready.model, image=ready.image, conditioning=cond)
    cond = clip_text_encode(ready.ctx, text="cat", clip=ready.clip)
    with pytest.raises(BadInput, match="cannot make pictures"):
        ksampler(
            ready.ctx, model=ready.model, seed=0, steps=2, cfg=1.0, sampler_name="euler", scheduler="normal", positive=cond, negative=cond,
            latent_image={"samples": torch.zeros(1, 4, 8, 8)}, denoise=1.0,
        )  # fmt: skip
    (tmp_path / "half").mkdir()
    half = Ready(tmp_path / "half", files["finder"])
    assert half.detect("cat", refine_iterations=2).masks.any()
    assert any("not refined" in text for text in half.bench.texts())
    with pytest.raises(BadInput, match="only the half of SAM 3"):
        half.detect(positive_coords="[[1, 1]]")


def test_parts_and_ways_to_load(ready: Ready, files: dict[str, Path], tmp_path: Path) -> None:
    """From a pickle as the authors publish, from loaders of single parts, saved and loaded again, and streamed where nothing may stay."""
    expected = ready.detect("cat:3", refine_iterations=1)
    file = open_weights(files["3"])
    torch.save({"model": {key: file.tensor(key).clone() for key in file}}, tmp_path / "sam3.pt")
    ctx, folders = ready.ctx, ready.bench.folders
    for kind in ("diffusion_models", "text_encoders"):
        (folders.models / kind).mkdir(exist_ok=True)
        (folders.models / kind / "sam3.pt").symlink_to(tmp_path / "sam3.pt")
    clip = clip_loader(ctx, clip_name="sam3.pt", type="stable_diffusion")
    model = unet_loader(ctx, unet_name="sam3.pt", weight_dtype="default")
    model_save(ctx, model=model, filename_prefix="saved")
    (folders.models / "diffusion_models" / "again.safetensors").symlink_to(next(folders.output.glob("saved*.safetensors")))
    again = unet_loader(ctx, unet_name="again.safetensors", weight_dtype="default")
    clip_save(ctx, clip=clip, filename_prefix="words")
    (folders.models / "text_encoders" / "words.safetensors").symlink_to(next(folders.output.glob("words*.safetensors")))
    clip = clip_loader(ctx, clip_name="words.safetensors", type="stable_diffusion")
    checkpoint_save(ctx, model=model, clip=clip, vae=None, filename_prefix="whole")
    (folders.models / "checkpoints" / "whole.safetensors").symlink_to(next(folders.output.glob("whole*.safetensors")))
    whole, clip, _ = checkpoint_loader_simple(ctx, ckpt_name="whole.safetensors")
    cond = clip_text_encode(ctx, text="cat:3", clip=clip)
    pool, ready.bench.services.pool = ready.bench.services.pool, Pool("cpu", 0)
    try:
        for each in (model, again, whole):
            found = ready.detect(model=each, conditioning=cond, refine_iterations=1)
            assert torch.equal(found.masks, expected.masks) and found.bboxes == expected.bboxes
    finally:
        ready.bench.services.pool = pool


def test_damaged_files(files: dict[str, Path], tmp_path: Path) -> None:
    file = open_weights(files["3"])
    state = {key: file.tensor(key) for key in file}
    services = tiny.services(tmp_path)
    for key, error, said in (
        ("detector.transformer.decoder.norm.weight", BadFile, "decoder.norm.weight is missing"),
        ("detector.backbone.language_backbone.encoder.ln_final.bias", BadFile, "without the weight"),
        ("detector.transformer.decoder.presence_token.weight", UnknownModel, "is a SAM 3 model of no kind that is known here"),
    ):
        save_safetensors(tmp_path / "bad.safetensors", {name: value for name, value in state.items() if name != key})
        with pytest.raises(error, match=said):
            load_checkpoint(tmp_path / "bad.safetensors", services)
    save_safetensors(tmp_path / "sam2.safetensors", {"model.sam_mask_decoder.iou_token.weight": torch.zeros(1, 4)})
    with pytest.raises(UnknownModel, match="a Segment Anything 1 or 2 model, which knows no words, not a diffusion model"):
        load_checkpoint(tmp_path / "sam2.safetensors", services)
    odd = {**state, "detector.backbone.vision_backbone.trunk.pos_embed": torch.zeros(1, 11, 64)}
    save_safetensors(tmp_path / "odd.safetensors", odd)
    with pytest.raises(BadFile, match="contradict each other"):
        load_checkpoint(tmp_path / "odd.safetensors", services)
