"""Shapes: from grids to meshes, to files, and onto the screen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple, TypeVar

from backend.base.errors import BadInput, Problem
from backend.base.paths import next_save
from backend.engine.context import Context
from backend.graph.declare import Choice, Float, Int, SavePrefix, Text, Wired, node
from backend.graph.schema import Files, Socket
from backend.imaging.picture import read_channel, read_picture
from backend.media import mesh as shapes
from backend.media.video import VideoFile
from backend.storage.files import write_bytes
from nodes.image_files import METADATA, embedded, saved
from nodes.types import Image, Mask, TextOut
from nodes.video import Film

mesh_node = partial(node, category="3d", module="comfy_extras.nodes_hunyuan3d")
view = partial(node, category="3d", module="comfy_extras.nodes_load_3d", experimental=True)
MeshWire = Annotated[shapes.Mesh, Socket("MESH")]
VoxelWire = Annotated[shapes.Voxel, Socket("VOXEL")]
Camera = Annotated[dict[str, Any], Socket("LOAD3D_CAMERA")]
Viewed = Annotated[dict[str, Any], Socket("LOAD_3D")]
Animated = Annotated[dict[str, Any], Socket("LOAD_3D_ANIMATION")]
MODELS = Files("input", content=("model",))
T = TypeVar("T")


class Shape(NamedTuple):
    image: Image
    mask: Mask
    mesh_path: TextOut
    normal: Image
    lineart: Image
    camera_info: Camera
    recording_video: Film


class MovingShape(NamedTuple):
    image: Image
    mask: Mask
    mesh_path: TextOut
    normal: Image
    camera_info: Camera
    recording_video: Film


def _threshold() -> float:
    widget: float = Float(0.6, min=-1.0, max=1.0, step=0.01)
    return widget


@mesh_node("VoxelToMesh")
def voxel_to_mesh(
    ctx: Context, *, voxel: VoxelWire, algorithm: str = Choice(["surface net", "basic"]), threshold: float = _threshold()
) -> MeshWire:
    """The surface of a grid of densities: smooth, or the sides of its cells."""
    return shapes.mesh_of(voxel, threshold, algorithm == "surface net")


@mesh_node("VoxelToMeshBasic")
def voxel_to_mesh_basic(ctx: Context, *, voxel: VoxelWire, threshold: float = _threshold()) -> MeshWire:
    """The sides of the dense cells of a grid."""
    return shapes.mesh_of(voxel, threshold, smooth=False)


@mesh_node("SaveGLB", title="SaveGLB", output=True, hidden=METADATA)
def save_glb(ctx: Context, *, mesh: MeshWire, filename_prefix: str = SavePrefix("mesh/ComfyUI")) -> None:
    """Save meshes as GLB files with the workflow inside."""
    place = next_save(filename_prefix, ctx.services.folders.directory("output"))
    items = []
    for number, (vertices, faces) in enumerate(mesh.each() if isinstance(mesh, shapes.Mesh) else zip(mesh.vertices, mesh.faces)):
        ctx.check()
        path = place.folder / f"{place.name}_{place.counter + number:05}_.glb"
        write_bytes(path, shapes.glb(vertices, faces, embedded(ctx)))
        items.append(saved(path, place.subfolder, "output"))
    ctx.show("3d", items)


def _part(ctx: Context, shown: Any, name: str, read: Callable[[Any], T]) -> T:
    """What the viewer in the browser has rendered and sent: files by name."""
    if not isinstance(shown, dict) or not isinstance(shown.get(name), str) or not shown[name]:
        hint = "Open the graph in an editor that shows the shape, so that it can be rendered."
        raise BadInput(f"There is no picture ({name}) of the shape.", hint=hint, node=ctx.node, input="image")
    try:
        return read(ctx.services.folders.resolve(shown[name], "input"))
    except Problem as problem:
        raise problem.at(node=ctx.node, input="image", file=shown[name]) from problem.__cause__


def _picture(ctx: Context, shown: Any, name: str) -> Any:
    return _part(ctx, shown, name, lambda path: read_picture(path)[0])


def _rendered(ctx: Context, model_file: str, image: Any) -> dict[str, Any]:
    mask = _part(ctx, image, "image", lambda path: read_channel(path, "alpha"))
    film = _part(ctx, image, "recording", VideoFile) if isinstance(image, dict) and image.get("recording") else None
    return {
        "image": _picture(ctx, image, "image"),
        "mask": _part(ctx, image, "mask", lambda path: read_picture(path)[1]) if image.get("mask") else mask,
        "mesh_path": model_file,
        "normal": _picture(ctx, image, "normal"),
        "camera_info": image.get("camera_info") or {},
        "recording_video": film,
    }


def _side() -> int:
    widget: int = Int(1024, min=1, max=4096, step=1)
    return widget


@view("Load3D", title="Load 3D")
def load_3d(
    ctx: Context,
    *,
    model_file: str = Choice(MODELS, file_upload=True),
    image: Viewed = Wired(),
    width: int = _side(),
    height: int = _side(),
) -> Shape:
    """A shape as the viewer in the browser shows it: picture, mask, normals, lines and camera."""
    return Shape(**_rendered(ctx, model_file, image), lineart=_picture(ctx, image, "lineart"))


@view("Load3DAnimation", title="Load 3D - Animation")
def load_3d_animation(
    ctx: Context,
    *,
    model_file: str = Choice(MODELS, file_upload=True),
    image: Animated = Wired(),
    width: int = _side(),
    height: int = _side(),
) -> MovingShape:
    """A shape that moves, as the viewer in the browser shows it."""
    return MovingShape(**_rendered(ctx, model_file, image))


def _model_text() -> str:
    widget: str = Text("", multiline=False)
    return widget


@view("Preview3D", title="Preview 3D", output=True)
def preview_3d(ctx: Context, *, model_file: str = _model_text(), camera_info: Camera | None = Wired(optional=True)) -> None:
    """Show a shape file of the output directory."""
    ctx.show("result", [model_file, camera_info])


@view("Preview3DAnimation", title="Preview 3D - Animation", output=True)
def preview_3d_animation(ctx: Context, *, model_file: str = _model_text(), camera_info: Camera | None = Wired(optional=True)) -> None:
    """Show a shape file that moves."""
    ctx.show("result", [model_file, camera_info])
