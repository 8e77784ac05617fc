"""MESH and VOXEL values: from a grid of densities to triangles, and triangles to a file."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.base.errors import BadInput

MOST_CELLS = 1 << 28  # of one grid; a surface net holds a few numbers for each
_FLOAT, _UINT = 5126, 5125  # component types of glTF
_VERTICES, _INDICES = 34962, 34963  # targets of glTF buffer views


@dataclass(frozen=True)
class Voxel:
    """Densities [B, D, H, W] on a grid."""

    data: Tensor


@dataclass(frozen=True)
class Mesh:
    """Triangles: vertices [B, V, 3] and, by index, faces [B, F, 3]. Meshes of a batch may be of different sizes: lists then."""

    vertices: Tensor | list[Tensor]
    faces: Tensor | list[Tensor]

    def each(self) -> list[tuple[Tensor, Tensor]]:
        """(vertices [V, 3], faces [F, 3]) one by one."""
        return list(zip(self.vertices, self.faces, strict=True))


def mesh_of(voxel: Voxel, threshold: float, smooth: bool) -> Mesh:
    """The surface around what is denser than `threshold`; `smooth`: a surface net, otherwise the sides of cubes.

    The longest side of the grid goes from -1 to 1; the grid's axes D, H, W become z, y, x. Raises BadInput for a grid that is too large.
    """
    made = []
    for grid in voxel.data:
        if grid.ndim != 3 or grid.numel() > MOST_CELLS:
            raise BadInput(f"A grid of shape {list(grid.shape)} cannot be made a mesh.", hint="Use fewer cells.", input="voxel")
        vertices, faces = (surface_net if smooth else cubes)(grid.detach().float().cpu(), threshold)
        half = max(grid.shape) / 2
        made.append((((vertices - half) / half).flip(-1), faces))
    vertices_of, faces_of = [v for v, _ in made], [f for _, f in made]
    if len({(len(v), len(f)) for v, f in made}) == 1:
        return Mesh(torch.stack(vertices_of), torch.stack(faces_of))
    return Mesh(vertices_of, faces_of)


def _quads(corners: Tensor, flipped: Tensor) -> Tensor:
    """Quads [N, 4] of vertex numbers in a circle as triangles [2N, 3], turned around where `flipped` [N]."""
    corners = torch.where(flipped.unsqueeze(1), corners.flip(1), corners)
    return torch.cat([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])


def _unique(corners: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Grid points [N, 4, 3] -> (each point once [V, 3], their numbers [N, 4])."""
    _, height, width = shape
    numbers = (corners[..., 0] * height + corners[..., 1]) * width + corners[..., 2]
    once, index = torch.unique(numbers, return_inverse=True)
    return torch.stack([once // (height * width), once // width % height, once % width], 1), index


def cubes(grid: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """The sides between dense cells of [D, H, W] and others: vertices [V, 3] in cells, faces [F, 3] seen from outside.

    The caller turns the axes around, which turns the order of the corners around: it is counted backwards here.
    """
    solid = torch.nn.functional.pad(grid > threshold, (1,) * 6)
    sides, backs = [], []
    for axis in range(3):
        one, other = solid.narrow(axis, 0, solid.shape[axis] - 1), solid.narrow(axis, 1, solid.shape[axis] - 1)
        at = (one != other).nonzero()
        u, v = ((axis + 1) % 3, (axis + 2) % 3)
        corners = at.unsqueeze(1).repeat(1, 4, 1)
        corners[:, :, axis] += 1
        for i, (du, dv) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1))):
            corners[:, i, u] += du
            corners[:, i, v] += dv
        sides.append(corners)
        backs.append(one[tuple(at.T)])
    points, index = _unique(torch.cat(sides), tuple(n + 2 for n in solid.shape))
    return points.float() - 1, _quads(index, torch.cat(backs))


def surface_net(grid: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Naive surface nets (Gibson 1998): a vertex in every cube of 8 samples that the surface cuts, at the mean of the cuts.

    [D, H, W] -> vertices [V, 3] in cells (samples lie in the middle of theirs), faces [F, 3] as `cubes` gives them.
    """
    low = min(float(grid.min()), threshold) - 1.0
    field = torch.nn.functional.pad(grid, (1,) * 6, value=low) - threshold
    inside = field > 0
    size = tuple(n - 1 for n in field.shape)
    total, count = torch.zeros(*size, 3), torch.zeros(size)
    for axis in range(3):
        n = field.shape[axis] - 1
        a, b = field.narrow(axis, 0, n), field.narrow(axis, 1, n)
        crosses = (a > 0) != (b > 0)
        where = torch.where(crosses, a / (a - b).where(crosses, 1.0), 0.0)
        others = [d for d in range(3) if d != axis]
        for shift in itertools.product((0, 1), repeat=2):  # the four edges of a cube that run along the axis
            cut, at = crosses, where
            for dimension, step in zip(others, shift, strict=True):
                cut, at = cut.narrow(dimension, step, size[dimension]), at.narrow(dimension, step, size[dimension])
            count += cut
            total[..., axis] += at
            for dimension, step in zip(others, shift, strict=True):
                total[..., dimension] += cut * float(step)
    index = torch.full(size, -1, dtype=torch.long)
    cut_cubes = count.nonzero(as_tuple=True)
    index[cut_cubes] = torch.arange(len(cut_cubes[0]))
    vertices = torch.stack(cut_cubes, 1) + total[cut_cubes] / count[cut_cubes].unsqueeze(1) - 0.5
    faces = []
    for axis in range(3):
        n = field.shape[axis] - 1
        a, b = inside.narrow(axis, 0, n), inside.narrow(axis, 1, n)
        u, v = ((axis + 1) % 3, (axis + 2) % 3)
        edge = (a != b).nonzero()
        corners = []
        for du, dv in ((-1, -1), (0, -1), (0, 0), (-1, 0)):  # the four cubes around the edge; the border is outside, so all are there
            cube = edge.clone()
            cube[:, u] += du
            cube[:, v] += dv
            corners.append(index[tuple(cube.T)])
        faces.append(_quads(torch.stack(corners, 1), a[tuple(edge.T)]))
    return vertices, torch.cat(faces)


def glb(vertices: Tensor, faces: Tensor, texts: Mapping[str, str] | None = None) -> bytes:
    """One mesh as binary glTF 2.0; `texts` go to `asset.extras`."""
    if vertices.ndim != 2 or vertices.shape[-1] != 3 or faces.ndim != 2 or faces.shape[-1] != 3:
        raise BadInput("A mesh needs vertices [V, 3] and faces [F, 3].", input="mesh")
    points, corners = vertices.detach().float().cpu().contiguous(), faces.detach().cpu().to(torch.int64)
    if len(corners) and (int(corners.min()) < 0 or int(corners.max()) >= len(points)):
        raise BadInput("A face of the mesh names a vertex that it does not have.", input="mesh")
    one, two = points.numpy().astype("<f4").tobytes(), corners.numpy().astype("<u4").tobytes()
    ends = {"min": points.amin(0).tolist(), "max": points.amax(0).tolist()} if len(points) else {}
    about = {
        "asset": {"version": "2.0", "generator": "Emulsion", **({"extras": dict(texts)} if texts else {})},
        "buffers": [{"byteLength": len(one) + len(two)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(one), "target": _VERTICES},
            {"buffer": 0, "byteOffset": len(one), "byteLength": len(two), "target": _INDICES},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": _FLOAT, "count": len(points), "type": "VEC3", **ends},
            {"bufferView": 1, "componentType": _UINT, "count": corners.numel(), "type": "SCALAR"},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": 4}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }
    text = json.dumps(about).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(one) + len(two), b"BIN\0") + one + two
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
