"""What can be chosen on the command line, as one frozen value. Reading it changes nothing: no directory is made, no device is asked."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NoReturn

from backend.base.errors import BadInput
from backend.base.paths import Folders

Dtype = Literal["fp32", "fp64", "bf16", "fp16", "fp8_e4m3fn", "fp8_e5m2", "fp8_e8m0fnu"]
MemoryMode = Literal["auto", "gpu-only", "high", "normal", "low", "none", "cpu"]
Metadata = Literal["full", "minimal", "none"]
CachePolicy = Literal["classic", "lru", "none", "ram"]
VERSION = "0.1.0"
ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
_SECRET = ("--token", "--users-file")


MOST_WORKERS = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """Every choice of one process. Sizes are bytes, times seconds."""

    # network
    listen: tuple[str, ...] = ("127.0.0.1",)
    port: int = 8188
    tls_keyfile: Path | None = None
    tls_certfile: Path | None = None
    cors_origin: str | None = None
    max_upload: int = 100 * 2**20
    compress_response: bool = False
    token: str | None = None  # "" asks for a generated one
    users_file: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    rate_limit: int = 0
    user_quota: int = 0
    download_hosts: tuple[str, ...] = ("huggingface.co", "civitai.com")
    request_timeout: float = 30.0
    # directories
    base_directory: Path = ROOT
    output_directory: Path | None = None
    input_directory: Path | None = None
    temp_directory: Path | None = None
    user_directory: Path | None = None
    extra_model_paths: tuple[Path, ...] = ()
    database_url: str | None = None
    front_end_root: Path | None = None
    front_end_version: str | None = None
    # device and precision
    cuda_device: str | None = None
    workers: int = 1
    default_device: int | None = None
    cuda_malloc: bool | None = None
    memory: MemoryMode = "auto"
    reserve_vram: int | None = None
    vram_budget: int | None = None
    ram_budget: int | None = None
    idle_unload: float = 30.0  # minutes; 0 for never
    smart_memory: bool = True
    mmap: bool = True
    deterministic: bool = False
    compile: bool = False
    fast: tuple[str, ...] | None = None
    force_dtype: Dtype | None = None
    unet_dtype: Dtype | None = None
    vae_dtype: Dtype | None = None
    vae_on_cpu: bool = False
    text_encoder_dtype: Dtype | None = None
    attention: str | None = None
    upcast_attention: bool | None = None
    xformers: bool = True
    kernel_choice: Literal["rules", "measured"] = "measured"
    # runs
    cache: CachePolicy = "classic"
    cache_lru: int = 0
    cache_ram: int = 0
    persist: tuple[str, ...] = ()
    persist_bytes: int = 4 * GIB
    preview_method: str = "auto"
    preview_size: int = 512
    metadata: Metadata = "full"
    hang_timeout: float = 120.0
    cancel_grace: float = 5.0
    history_entries: int = 10_000
    history_days: float = 0.0
    history_bytes: int = 0
    # node packs
    custom_nodes: bool = True
    whitelist: tuple[str, ...] = ()
    pack_changes: bool = False
    api_nodes: bool = True
    # the process
    auto_launch: bool = False
    quick_test: bool = False
    dont_print_server: bool = False
    standalone_windows: bool = False
    multi_user: bool = False
    verbose: str = "INFO"
    log_format: Literal["human", "json"] = "human"
    log_stdout: bool = False
    hashing: str = "sha256"
    argv: tuple[str, ...] = ()

    def devices(self) -> tuple[str | None, ...]:
        """One entry for each worker: the number of its GPU, or None where the worker chooses itself."""
        named = tuple(part.strip() for part in (self.cuda_device or "").split(",") if part.strip())
        return named if len(named) > 1 else (self.cuda_device,) * self.workers

    def folders(self) -> Folders:
        """The directories these settings mean, with the files of further model directories read. Raises MissingFile, BadFile."""
        base = self.base_directory
        beside = base / "extra_model_paths.yaml"
        extra = ((beside,) if beside.is_file() else ()) + self.extra_model_paths
        temp = self.temp_directory / "temp" if self.temp_directory is not None else None
        return Folders.of(base, input=self.input_directory, output=self.output_directory, temp=temp, user=self.user_directory, extra=extra)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInput(f"The command line is not understood: {message}.", hint="See --help.")


def _choice(group: Any, dest: str, pairs: Mapping[str, Any]) -> None:
    """Mutually exclusive flags that each set `dest` to a value."""
    exclusive = group.add_mutually_exclusive_group()
    for flag, value in pairs.items():
        exclusive.add_argument(flag, dest=dest, action="store_const", const=value, default=argparse.SUPPRESS)


def _flag(group: Any, flag: str, dest: str, value: Any = True, help: str | None = None) -> None:
    group.add_argument(flag, dest=dest, action="store_const", const=value, default=argparse.SUPPRESS, help=help)


def _gib(text: str) -> int:
    value = float(text)
    if not 0 <= value < 2**20:
        raise argparse.ArgumentTypeError(f"{text} GB is not a sensible size")
    return int(value * GIB)


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(part for part in (p.strip() for p in text.split(",")) if part)


def _network(p: _Parser) -> None:
    g = p.add_argument_group("network")
    g.add_argument("--listen", type=_addresses, nargs="?", const=("0.0.0.0", "::"), metavar="IP[,IP]", help="addresses to serve on")
    g.add_argument("--port", type=int)
    g.add_argument("--tls-keyfile", type=_path)
    g.add_argument("--tls-certfile", type=_path)
    g.add_argument("--enable-cors-header", dest="cors_origin", nargs="?", const="*", metavar="ORIGIN")
    g.add_argument("--max-upload-size", dest="max_upload", type=lambda t: int(float(t) * 2**20), metavar="MB")
    _flag(g, "--enable-compress-response-body", "compress_response")
    g.add_argument("--token", nargs="?", const="", help="clients must send this token; without a value one is made and printed")
    g.add_argument("--users-file", type=_path, metavar="FILE", help="users with tokens and roles, see docs/security.md")
    g.add_argument("--allow-host", dest="allowed_hosts", nargs="+", action="extend", metavar="NAME", help="names this server answers to")
    g.add_argument("--rate-limit", type=int, metavar="N", help="changes per minute each client may make; 0 for no limit")
    g.add_argument("--user-quota", type=lambda t: int(float(t) * 2**20), metavar="MB", help="of files each user may keep; 0 for no limit")
    g.add_argument("--download-hosts", type=str.lower, nargs="*", metavar="NAME", help="where model files may be fetched from")
    g.add_argument("--request-timeout", type=float, metavar="SECONDS", help="a request that stops arriving for longer is dropped")


def _directories(p: _Parser) -> None:
    g = p.add_argument_group("directories")
    for flag in ("--base-directory", "--output-directory", "--input-directory", "--temp-directory", "--user-directory", "--front-end-root"):
        g.add_argument(flag, type=_path)
    g.add_argument("--extra-model-paths-config", dest="extra_model_paths", type=_path, nargs="+", action="extend", metavar="FILE")
    g.add_argument("--database-url")
    g.add_argument("--front-end-version")


def _device(p: _Parser) -> None:
    g = p.add_argument_group("device and precision")
    g.add_argument("--cuda-device", metavar="N[,N]", help="the GPUs to use; each gets a worker of its own, and jobs run side by side")
    g.add_argument("--workers", type=int, metavar="N", help="jobs that run side by side, where no GPUs are named")
    g.add_argument("--default-device", type=int)
    _choice(g, "cuda_malloc", {"--cuda-malloc": True, "--disable-cuda-malloc": False})
    modes = {
        "--gpu-only": "gpu-only",
        "--highvram": "high",
        "--normalvram": "normal",
        "--lowvram": "low",
        "--novram": "none",
        "--cpu": "cpu",
    }
    _choice(g, "memory", modes)
    g.add_argument("--reserve-vram", type=_gib, metavar="GB", help="leave this much device memory to others")
    g.add_argument("--vram-budget", type=_gib, metavar="GB", help="models may fill this much device memory, whatever is free")
    g.add_argument("--ram-budget", type=_gib, metavar="GB", help="with --cpu: models may fill this much memory")
    g.add_argument("--idle-unload", type=float, metavar="MINUTES", help="give the device back after so long without a job (30); 0: never")
    _flag(g, "--disable-smart-memory", "smart_memory", False, help="keep no model on the device after its use")
    _flag(g, "--disable-mmap", "mmap", False, help="read weights rather than map their files, as some network drives need")
    _flag(g, "--deterministic", "deterministic")
    _flag(g, "--compile", "compile", help="compile each model when it first runs, as TorchCompileModel does; kept for later starts")
    g.add_argument(
        "--fast",
        nargs="*",
        metavar="OPTION",
        help="less exact and faster: fp16_accumulation, autotune, fp8_matrix_mult; all of these when none is named; int8_matrix_mult",
    )
    _choice(g, "force_dtype", {"--force-fp32": "fp32", "--force-fp16": "fp16"})
    unet = ("fp32", "fp64", "bf16", "fp16", "fp8_e4m3fn", "fp8_e5m2", "fp8_e8m0fnu")
    _choice(g, "unet_dtype", {f"--{d}-unet": d for d in unet})
    _choice(g, "vae_dtype", {f"--{d}-vae": d for d in ("fp16", "fp32", "bf16")})
    _flag(g, "--cpu-vae", "vae_on_cpu", help="run autoencoders on the CPU, whatever the device")
    _choice(g, "text_encoder_dtype", {f"--{d}-text-enc": d for d in ("fp8_e4m3fn", "fp8_e5m2", "fp16", "fp32", "bf16")})
    kinds = {f"--use-{a}-cross-attention": a for a in ("split", "quad", "pytorch")} | {f"--use-{a}-attention": a for a in ("sage", "flash")}
    _choice(g, "attention", kinds)
    g.add_argument(
        "--kernel-choice",
        choices=("rules", "measured"),
        help="how fast kernels are chosen where no rule was measured: once by a clock and kept (measured), or as elsewhere (rules)",
    )
    _choice(g, "upcast_attention", {"--force-upcast-attention": True, "--dont-upcast-attention": False})
    _flag(g, "--disable-xformers", "xformers", False, help="accepted; not used here")
    g.add_argument("--directml", dest="accepted", type=int, nargs="?", const=-1, help="accepted; not used here")
    _flag(g, "--async-offload", "accepted", help="accepted; weights always travel beside the computing")
    for flag in ("--force-channels-last", "--supports-fp8-compute", "--force-non-blocking", "--mmap-torch-files"):
        _flag(g, flag, "accepted", help="accepted; decided by measurement here")
    g.add_argument("--oneapi-device-selector", dest="accepted", help="accepted; not used here")
    _flag(g, "--disable-ipex-optimize", "accepted", help="accepted; not used here")


def _runs(p: _Parser) -> None:
    g = p.add_argument_group("runs")
    exclusive = g.add_mutually_exclusive_group()
    for flag, value in (("--cache-classic", "classic"), ("--cache-none", "none")):
        exclusive.add_argument(flag, dest="cache", action="store_const", const=value, default=argparse.SUPPRESS)
    exclusive.add_argument("--cache-lru", type=int, metavar="N", help="keep the results of this many nodes across runs")
    exclusive.add_argument("--cache-ram", type=_gib, metavar="GB", help="keep results while they fit into this much memory")
    g.add_argument("--persist-results", dest="persist", nargs="+", action="extend", metavar="TYPE", help="node types to keep on disk")
    g.add_argument("--persist-size", dest="persist_bytes", type=_gib, metavar="GB", help="disk space for kept results (4)")
    g.add_argument("--preview-method", choices=("none", "auto", "latent2rgb", "taesd"))
    g.add_argument("--preview-size", type=int)
    kinds = ("full", "minimal", "none")
    g.add_argument("--metadata", choices=kinds, help="what saved files carry: prompt and workflow, the prompt alone, or nothing")
    _flag(g, "--disable-metadata", "metadata", "none", help="the same as --metadata none")
    g.add_argument("--hang-timeout", type=float, metavar="SECONDS", help="a worker that is silent for longer is restarted")
    g.add_argument("--cancel-grace", type=float, metavar="SECONDS", help="a cancelled run that goes on for longer is killed")
    g.add_argument("--history-entries", type=int, metavar="N", help="finished jobs to keep (10000)")
    g.add_argument("--history-days", type=float, metavar="DAYS", help="forget finished jobs after this time; 0 for never")
    g.add_argument("--history-size", dest="history_bytes", type=lambda t: int(float(t) * 2**20), metavar="MB", help="of JSON to keep")


def _process(p: _Parser) -> None:
    g = p.add_argument_group("node packs and the process")
    _flag(g, "--disable-all-custom-nodes", "custom_nodes", False)
    g.add_argument("--whitelist-custom-nodes", dest="whitelist", nargs="+", metavar="PACK")
    _flag(g, "--allow-pack-changes", "pack_changes", help="let admins install and switch node packs through the API")
    _flag(g, "--disable-api-nodes", "api_nodes", False)
    g.add_argument("--comfy-api-base", dest="accepted", help="accepted; there are no nodes that call a service here")
    _flag(g, "--auto-launch", "auto_launch")
    _flag(g, "--disable-auto-launch", "auto_launch", False)
    _flag(g, "--quick-test-for-ci", "quick_test")
    _flag(g, "--dont-print-server", "dont_print_server")
    _flag(g, "--windows-standalone-build", "standalone_windows")
    _flag(g, "--multi-user", "multi_user")
    g.add_argument("--verbose", nargs="?", const="DEBUG", choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
    _flag(g, "--log-stdout", "log_stdout")
    g.add_argument("--log-format", choices=("human", "json"), help="lines for people, or one JSON object a line")
    g.add_argument("--default-hashing-function", dest="hashing", choices=("md5", "sha1", "sha256", "sha512"))


def parser(prog: str = "emulsion") -> argparse.ArgumentParser:
    """The command line parser; options not given are absent from its namespace."""
    p = _Parser(prog=prog, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    for part in (_network, _directories, _device, _runs, _process):
        part(p)
    return p


def without_secrets(argv: Sequence[str]) -> list[str]:
    """The command line without what only the front may know: tokens and where they are kept."""
    kept: list[str] = []
    skip = False
    for word in argv:
        if skip and not word.startswith("-"):
            skip = False
            continue
        skip = word in _SECRET
        if not skip and word.split("=", 1)[0] not in _SECRET:
            kept.append(word)
    return kept


def parse(argv: Sequence[str] = ()) -> Settings:
    """The settings a command line means. Raises BadInput for what is not understood; `--help` prints and raises SystemExit."""
    given = vars(parser().parse_args(list(argv)))
    names = {f.name for f in fields(Settings)}
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if k in names}
    if "cache_lru" in values:
        values["cache"] = "lru" if values["cache_lru"] > 0 else "classic"
    if "cache_ram" in values:
        values["cache"] = "ram"
    if not 0 <= values.get("port", 8188) < 65536:
        hint = "Use --port with a number from 1 to 65535, or 0 to let the system choose."
        raise BadInput(f"There is no port {values['port']}.", hint=hint)
    if not 1 <= values.get("workers", 1) <= MOST_WORKERS:
        raise BadInput(f"{values['workers']} workers cannot be started.", hint=f"Use --workers with a number from 1 to {MOST_WORKERS}.")
    return Settings(**values, argv=tuple(argv))
