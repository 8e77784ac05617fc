"""Meshes of shapes whose volume is known: closed, turned outwards, the right size; and files that hold what they were given."""

from __future__ import annotations

import json
import math
import struct

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.media import mesh


def volume(vertices: Tensor, faces: Tensor) -> float:
    a, b, c = (vertices[faces[:, i]].double() for i in range(3))
    return float((torch.linalg.cross(a, b) * c).sum() / 6)


@pytest.mark.parametrize("smooth", [False, True])
def test_an_ellipsoid(smooth: bool) -> None:
    axis = torch.linspace(-1, 1, 20)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    density = 0.8 - torch.sqrt((x * 2) ** 2 + y**2 + z**2)
    ((vertices, faces),) = mesh.mesh_of(mesh.Voxel(density.unsqueeze(0)), 0.0, smooth).each()
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there, back = (set(map(tuple, e.tolist())) for e in (edges, edges.flip(1)))
    assert there == back and len(there) == len(edges)  # every edge is shared by two faces that agree on what is outside
    assert volume(vertices, faces) == pytest.approx(4 / 3 * math.pi * 0.8**3 / 2 * 0.95**3, rel=0.06)
    assert vertices.amax(0).tolist() == pytest.approx([0.38, 0.76, 0.76], abs=0.06)  # the grid's last axis is x


def test_odd_grids() -> None:
    full, empty = torch.ones(3, 4, 5), torch.zeros(3, 4, 5)
    made = mesh.mesh_of(mesh.Voxel(torch.stack([full, empty])), 0.5, smooth=False).each()
    assert volume(*made[0]) == pytest.approx(3 * 4 * 5 / 2.5**3) and len(made[0][0]) == 2 * (12 + 15 + 20) + 2
    assert len(made[1][1]) == 0
    assert not len(mesh.mesh_of(mesh.Voxel(empty.unsqueeze(0)), 0.5, smooth=True).each()[0][1])
    with pytest.raises(BadInput, match="cannot be made a mesh"):
        mesh.mesh_of(mesh.Voxel(torch.zeros(1, 4, 4)), 0.5, smooth=True)


def test_files() -> None:
    vertices, faces = torch.rand(5, 3), torch.tensor([[0, 1, 2], [2, 3, 4]])
    data = mesh.glb(vertices, faces, {"prompt": "{}"})
    magic, version, length, size, kind = struct.unpack("<4sIII4s", data[:20])
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON") and size % 4 == 0
    about = json.loads(data[20 : 20 + size])
    assert about["asset"]["extras"] == {"prompt": "{}"}
    binary = data[28 + size :]
    assert len(binary) == about["buffers"][0]["byteLength"] == 5 * 12 + 6 * 4
    assert torch.equal(torch.frombuffer(bytearray(binary[:60]), dtype=torch.float32).reshape(5, 3), vertices)
    with pytest.raises(BadInput, match="names a vertex"):
        mesh.glb(vertices, faces + 3)
