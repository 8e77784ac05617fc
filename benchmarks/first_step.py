"""From nothing to the end of the first denoising step: checkpoints of SD 1.5's and SDXL's size, ours against diffusers' `from_single_file`.

    python -m benchmarks.first_step [--size sd15 sdxl] [--folder DIR] [--side 256] [--cold] [--repeats 2]

Loading, two texts encoded, one guided step, in processes of their own, in turns; libraries are imported before the clock starts. diffusers
loads in float32, as it does unless told, and in bfloat16. Peak memory is what the process gained, pages of the file included. The weights
are random (2.1 and 6.9 GB, kept where --folder is given). With --cold only loads of files that were dropped from the page cache are taken.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from backend.base.config import Settings
from backend.base.paths import Folders
from backend.codecs.kl.net import AutoencoderKL, KLSizes
from backend.encoders.clip.net import ClipSizes, ClipText
from backend.encoders.clip.openclip import to_openclip
from backend.families.sd.unet import UNet
from backend.front import worker_environment
from benchmarks.load import drop, read, write, write_random
from benchmarks.recognise import SDXL
from benchmarks.table import Row, report

WORDS = [49406, 320, 1125, 539, 320, 2368] + [49407] * 71  # "a photo of a cat"
WAYS = ("ours", "bfloat16", "float32")


def resident() -> int:
    """Bytes of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def ours(path: Path, side: int) -> dict[str, float]:
    from backend.families.load import load_checkpoint
    from backend.memory.device import probe
    from backend.memory.pool import Pool
    from backend.memory.tune import tune

    settings = Settings(memory="cpu")
    tune(settings)
    services = SimpleNamespace(device=probe(settings), settings=settings, folders=Folders.of(path.parent))
    pool, before, begun = Pool(), resident(), time.perf_counter()
    with torch.inference_mode():
        loaded = load_checkpoint(path, services)
        assert loaded.model is not None and loaded.clip is not None
        clip: Any = loaded.clip
        states = []
        for encoder in getattr(clip, "parts", (clip,)):
            with pool.lease(encoder.loadable) as text:
                states.append(text(torch.tensor([WORDS, WORDS]), encoder.loadable.dtype)[0])
        with pool.lease(loaded.model.loadable) as net:
            dtype = loaded.model.loadable.dtype
            x = torch.randn(2, 4, side // 8, side // 8).to(dtype).contiguous(memory_format=torch.channels_last)
            vector = [torch.zeros(2, SDXL.adm or 0, dtype=dtype)] if len(states) > 1 else []
            net(x, torch.tensor([999.0, 999.0]), torch.cat(states, dim=-1).to(dtype), *vector)
    seconds = time.perf_counter() - begun
    return figures(seconds, before)


def theirs(path: Path, side: int, dtype: torch.dtype) -> dict[str, float]:
    from benchmarks import peer

    xl = path.name == SIZES["sdxl"].file
    with tempfile.TemporaryDirectory() as folder:
        (peer.configs_of_sdxl if xl else peer.configs_of_sd15)(Path(folder))
        pipeline: Any = peer.StableDiffusionXLPipeline if xl else peer.StableDiffusionPipeline
        given = dict.fromkeys(("tokenizer", "tokenizer_2") if xl else ("tokenizer", "safety_checker", "feature_extractor"))
        words, more = torch.tensor([WORDS, WORDS]), {}
        before, begun = resident(), time.perf_counter()
        with torch.inference_mode():
            pipe = pipeline.from_single_file(str(path), config=folder, local_files_only=True, torch_dtype=dtype, **given)
            context = pipe.text_encoder(words)[0]
            if xl:
                second = pipe.text_encoder_2(words)
                context = torch.cat((context, second.last_hidden_state), dim=-1)
                more["added_cond_kwargs"] = {"text_embeds": second.text_embeds, "time_ids": torch.zeros(2, 6, dtype=dtype)}
            pipe.unet(torch.randn(2, 4, side // 8, side // 8, dtype=dtype), torch.tensor([999, 999]), context, **more)
        seconds = time.perf_counter() - begun
        return figures(seconds, before)


def figures(seconds: float, before: int) -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": seconds, "peak": used.ru_maxrss * 1024 - before}


def child(way: str, path: Path, side: int) -> dict[str, float]:
    """One measurement in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.first_step", "--child", way, "--path", str(path), "--side", str(side)]
    env = worker_environment(Settings(), os.environ) if way == "ours" else dict(os.environ)
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
    result: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return result


def measure(title: str, path: Path, side: int, cold: bool, repeats: int) -> None:
    """Print rows."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    reads = []
    for _ in range(repeats):
        for way in WAYS:
            if cold:
                drop(path)
            found[way].append(child(way, path, side))
        if cold:
            drop(path)
        reads.append(read(path)["seconds"])
    best = {way: min(one["seconds"] for one in runs) for way, runs in found.items()}
    peak = {way: min(one["peak"] for one in runs) / 1e9 for way, runs in found.items()}
    about = "cold" if cold else "file in the page cache"
    rows = [
        Row(
            f"{title}-size checkpoint to the end of the first step, {side} px, {about}",
            f"{best['ours']:.2f} s (reading the file: {min(reads):.2f} s), {peak['ours']:.2f} GB at most",
        )
    ]
    for way, goal in (("float32", "≥ 2.0 ×"), ("bfloat16", "")):
        text = f"{best[way] / best['ours']:.2f} × ({best[way]:.2f} s, {peak[way]:.2f} GB)"
        rows.append(Row(f"faster than diffusers' from_single_file in {way} by", text, goal))
    report(rows)


def write_sdxl(path: Path) -> None:
    """A random checkpoint of Stable Diffusion XL's size under the published names."""
    with torch.device("meta"):
        parts = {
            "model.diffusion_model.": UNet(SDXL),
            "first_stage_model.": AutoencoderKL(KLSizes()),
            "conditioner.embedders.0.transformer.": ClipText(ClipSizes()),
        }
        second = ClipText(ClipSizes(width=1280, layers=32, heads=20, mlp=5120, projection=1280, quick=False))
    shapes = {prefix + name: tuple(p.shape) for prefix, net in parts.items() for name, p in net.named_parameters()}
    own = {name: tuple(p.shape) for name, p in second.named_parameters()}
    for name, made in to_openclip(own).items():
        first, *rest = own[made[0][0]]
        shapes[f"conditioner.embedders.1.model.{name}"] = (first * len(made), *rest)
    write_random(path, shapes)


@dataclass(frozen=True)
class Size:
    title: str
    file: str
    write: Callable[[Path], None]


SIZES = {
    "sd15": Size("SD 1.5", "emulsion-bench-sd15.safetensors", write),
    "sdxl": Size("SDXL", "emulsion-bench-sdxl.safetensors", write_sdxl),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--cold", action="store_true", help="only with the file dropped from the page cache")
    parser.add_argument("--child", choices=WAYS)
    parser.add_argument("--path", type=Path, help="for --child")
    args = parser.parse_args()
    if args.child:
        print(json.dumps(ours(args.path, args.side) if args.child == "ours" else theirs(args.path, args.side, getattr(torch, args.child))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        for size in (SIZES[name] for name in args.size):
            path = (args.folder or Path(temporary)) / size.file
            if not path.exists():
                size.write(path)
            for cold in (True,) if args.cold else (False, True):
                measure(size.title, path, args.side, cold, args.repeats)


if __name__ == "__main__":
    main()
