"""Wan Animate (Cheng et al. 2025, arXiv:2509.14055): a person moves as one in another film, by its pose and its face.

The face is read by the encoder of LIA (Wang et al. 2022, arXiv:2203.09043): how it moves is a sum of directions that are at right angles.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.qwen_image.net import whole
from backend.families.wan.net import EPS, Line, PatchEmbedding, Shown, Told, WanNet, WanSizes
from backend.nn.attention import attention
from backend.nn.blur import blur_kernel
from backend.nn.layers import Layer, Linear, RMSNorm

EVERY = 5
"""Blocks of the net from one look at the face to the next."""
AT_ONCE = 8
"""Faces that are read together."""
_SLOPE, _GAIN = 0.2, 2**0.5


@dataclass(frozen=True)
class AnimateSizes(WanSizes):
    faces: tuple[int, ...] = (32, 64, 128, 256, 512, 512, 512, 512)
    """Channels of each resolution at which a face is looked at."""
    style: int = 512
    motions: int = 20
    """Directions in which a face moves."""
    motion: int = 512
    """Numbers that say how it does."""
    hidden_face: int = 1024
    tokens: int = 4
    """Tokens of a face, and one that is always the same."""
    looks: int = 8
    flat: bool = False
    """The biases are written as vectors, as diffusers does."""

    @property
    def side(self) -> int:
        """Pixels of a face on a side."""
        return int(4 * 2 ** (len(self.faces) - 1))


class EvenConv(Layer):
    """A convolution whose weight is kept with unit variance (Karras et al. 2018, section 4.1)."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.stride, self.padding, self.scale = stride, padding, (cin * kernel**2) ** -0.5
        self.weight = nn.Parameter(torch.empty(cout, cin, kernel, kernel))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.get("weight", x) * self.scale, stride=self.stride, padding=self.padding)


class EvenLinear(Layer):
    """The same for a product with a matrix."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.scale = cin**-0.5
        self.weight = nn.Parameter(torch.empty(cout, cin))
        self.bias = nn.Parameter(torch.empty(cout))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.get("weight", x) * self.scale, self.get("bias", x))


class Bent(Layer):
    """A bias for each channel, and a leaky ReLU that keeps the variance."""

    def __init__(self, channels: int, flat: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(channels) if flat else torch.empty(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.get("bias", x).reshape(1, -1, 1, 1), _SLOPE) * _GAIN


def blurred(x: Tensor, padding: int) -> Tensor:
    """x [B, C, H, W] under a blur of four cells, grown by `padding` cells of nothing first."""
    return F.conv2d(x, blur_kernel(x), padding=padding, groups=x.shape[1])


class Shrinking(nn.Module):
    """Halves height and width."""

    def __init__(self, cin: int, cout: int, flat: bool) -> None:
        super().__init__()
        self.conv1 = nn.ModuleList([EvenConv(cin, cin, 3, padding=1), Bent(cin, flat)])
        self.conv2 = nn.ModuleList([nn.Identity(), EvenConv(cin, cout, 3, stride=2), Bent(cout, flat)])
        self.skip = nn.ModuleList([nn.Identity(), EvenConv(cin, cout, 1, stride=2)])

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1[1](self.conv1[0](x))
        h = self.conv2[2](self.conv2[1](blurred(h, 2)))
        out: Tensor = (h + self.skip[1](blurred(x, 1))) * 2**-0.5
        return out


class Looking(nn.Module):
    """Faces [B, 3, side, side] -> [B, style]."""

    def __init__(self, sizes: AnimateSizes) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.ModuleList([EvenConv(3, sizes.faces[0], 1), Bent(sizes.faces[0], sizes.flat)])])
        self.convs.extend(Shrinking(cin, cout, sizes.flat) for cin, cout in pairwise(sizes.faces))
        self.convs.append(EvenConv(sizes.faces[-1], sizes.style, 4))

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = self.convs
        assert isinstance(first, nn.ModuleList)
        h = first[1](first[0](x))
        for layer in rest:
            h = layer(h)
        out: Tensor = h[:, :, 0, 0]
        return out


class Encoding(nn.Module):
    """Faces -> how far each has gone in every direction, [B, motions]."""

    def __init__(self, sizes: AnimateSizes) -> None:
        super().__init__()
        self.net_app = Looking(sizes)
        self.fc = nn.ModuleList([*(EvenLinear(sizes.style, sizes.style) for _ in range(4)), EvenLinear(sizes.style, sizes.motions)])

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.net_app(x)
        for layer in self.fc:
            h = layer(h)
        return h


class Directions(Layer):
    """Lengths along the directions [B, motions] -> their sum [B, motion]."""

    def __init__(self, sizes: AnimateSizes) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(sizes.motion, sizes.motions))

    def forward(self, x: Tensor) -> Tensor:
        along: Tensor = torch.linalg.qr(self.get("weight", x).float() + 1e-8).Q
        return (x.float() @ along.T).to(x.dtype)


class Synthesis(nn.Module):
    """What the directions belong to, in the files."""

    def __init__(self, sizes: AnimateSizes) -> None:
        super().__init__()
        self.direction = Directions(sizes)


class MotionEncoder(nn.Module):
    """Faces [N, 3, side, side] -> how they move, [N, motion]."""

    def __init__(self, sizes: AnimateSizes) -> None:
        super().__init__()
        self.enc, self.dec = Encoding(sizes), Synthesis(sizes)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.dec.direction(self.enc(part)) for part in torch.split(x, AT_ONCE)])


class CausalConv(Layer):
    """Over time [B, T, C], of which the first moment goes on before the beginning; weight [cout, cin, kernel]."""

    def __init__(self, cin: int, cout: int, stride: int = 1, kernel: int = 3) -> None:
        super().__init__()
        self.stride, self.kernel = stride, kernel
        self.weight = nn.Parameter(torch.empty(cout, cin, kernel))
        self.bias = nn.Parameter(torch.empty(cout))

    def forward(self, x: Tensor) -> Tensor:
        before = F.pad(x.transpose(1, 2), (self.kernel - 1, 0), mode="replicate")
        return F.conv1d(before, self.get("weight", x), self.get("bias", x), stride=self.stride).transpose(1, 2)


class Named(nn.Module):
    """A convolution over time, as the files call it."""

    def __init__(self, cin: int, cout: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = CausalConv(cin, cout, stride)

    def forward(self, x: Tensor) -> Tensor:
        """And a norm, and a SiLU."""
        return settled(self.conv(x))


def settled(x: Tensor) -> Tensor:
    """Normalised over the last dimension, and a SiLU."""
    return F.silu(F.layer_norm(x, x.shape[-1:], eps=EPS))


class TokensOfTime(Layer):
    """A signal [B, T, in] as tokens of every fourth moment, [B, T / 4, tokens + 1, out]: the last token is always the same."""

    def __init__(self, cin: int, hidden: tuple[int, int, int], tokens: int, out: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.conv1_local = Named(cin, hidden[0] * tokens)
        self.conv2, self.conv3 = Named(hidden[0], hidden[1], 2), Named(hidden[1], hidden[2], 2)
        self.padding_tokens = nn.Parameter(torch.empty(1, 1, 1, out))

    def apart(self, x: Tensor) -> Tensor:
        """[B, T, in] -> [B * tokens, T / 4, hidden]."""
        many = torch.unflatten(self.conv1_local.conv(x), 2, (self.tokens, -1)).transpose(1, 2).flatten(0, 1)
        out: Tensor = self.conv3(self.conv2(settled(many)))
        return out

    def together(self, x: Tensor) -> Tensor:
        """[B * tokens, T, out] -> [B, T, tokens + 1, out]."""
        x = torch.unflatten(x, 0, (-1, self.tokens)).transpose(1, 2)
        return torch.cat([x, self.get("padding_tokens", x).expand(*x.shape[:2], 1, -1)], dim=2)


class FaceEncoder(TokensOfTime):
    """How a face moves [B, T, motion] -> [B, T / 4, tokens + 1, width]."""

    def __init__(self, sizes: AnimateSizes) -> None:
        super().__init__(sizes.motion, (sizes.hidden_face,) * 3, sizes.tokens, sizes.width)
        self.out_proj = Linear(sizes.hidden_face, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.together(self.out_proj(self.apart(x)))


class FaceAttention(nn.Module):
    """Each frame's tokens look at the face at that moment."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear1_q, self.linear1_kv, self.linear2 = Linear(width, width), Linear(width, 2 * width), Linear(width, width)
        self.q_norm, self.k_norm = RMSNorm(width // heads, EPS), RMSNorm(width // heads, EPS)

    def forward(self, x: Tensor, face: Tensor) -> Tensor:
        """x [B, frames * n, width], face [B, frames, tokens, width]."""
        q = self._normed(self.q_norm, self.linear1_q(F.layer_norm(x, x.shape[-1:], eps=EPS)))
        key, v = self.linear1_kv(F.layer_norm(face, face.shape[-1:], eps=EPS)).flatten(0, 1).chunk(2, dim=-1)
        frames = torch.unflatten(q, 1, (face.shape[1], -1)).flatten(0, 1)
        out = attention(frames, self._normed(self.k_norm, key), v, self.heads)
        looked: Tensor = self.linear2(out.reshape(x.shape))
        return looked

    def _normed(self, norm: RMSNorm, x: Tensor) -> Tensor:
        made: Tensor = norm(torch.unflatten(x, -1, (self.heads, -1)))
        return made.flatten(-2)


class FaceAdapter(nn.Module):
    """What the looks at the face belong to, in the files."""

    def __init__(self, sizes: AnimateSizes) -> None:
        super().__init__()
        self.fuser_blocks = nn.ModuleList(FaceAttention(sizes.width, sizes.heads) for _ in range(sizes.looks))


class AnimateNet(WanNet):
    """Shown besides: `pose` [B, channels, T, H, W], whose first frame is not looked at, and `faces` [B, 3, frames, side, side] in -1..1."""

    def __init__(self, sizes: AnimateSizes) -> None:
        super().__init__(sizes)
        self.pose_patch_embedding = PatchEmbedding(sizes.channels, sizes.width)
        self.motion_encoder, self.face_encoder, self.face_adapter = MotionEncoder(sizes), FaceEncoder(sizes), FaceAdapter(sizes)

    def embedded(self, x: Tensor, shown: Shown) -> Tensor:
        h = super().embedded(x, shown)
        if "pose" not in shown:
            return h
        moved: Tensor = self.pose_patch_embedding(whole(shown["pose"])[:, :, 1:])
        return torch.cat([h[:, : h.shape[1] - moved.shape[1]], h[:, h.shape[1] - moved.shape[1] :] + moved], dim=1)

    def through(self, line: Line, told: Told, shown: Shown) -> Tensor:
        h, face = line.h, self._face(shown)
        if face is not None:  # nothing for the picture of the person, and where the face ends
            face = F.pad(face, (0, 0, 0, 0, 1, max(0, line.frames - 1 - face.shape[1])))[:, : line.frames]
        for i in range(len(self.blocks)):
            h = self.step(i, h, told)
            at, rest = divmod(i, EVERY)
            if face is not None and rest == 0 and at < len(self.face_adapter.fuser_blocks):
                h = h + self.face_adapter.fuser_blocks[at](h, face)
        return h

    def _face(self, shown: Shown) -> Tensor | None:
        faces = shown.get("faces")
        if faces is None or not faces.shape[2]:
            return None
        moves = self.motion_encoder(faces.transpose(1, 2).flatten(0, 1))
        out: Tensor = self.face_encoder(torch.unflatten(moves, 0, (len(faces), -1)))
        return out
