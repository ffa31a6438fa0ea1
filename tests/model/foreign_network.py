"""The foreign network, implemented from its description in tests/fixtures/masked_hwm_checkpoint/README.md.

It reads a foreign checkpoint's tensors by name and shares no code with hwm_env. Of the options of config.json it needs
only `num_heads` and `use_rope`; the tensors show the others. It is slow: rotations are complex numbers, and attention
is written out.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

STREAMS = ("vp", "vf", "ap", "af")


class ForeignNetwork:
    """Computes the logits of a foreign checkpoint in float64.

    Args:
        tensors: tensors of the checkpoint.
        num_heads: attention heads.
        use_rope: whether queries and keys rotate with their positions.
    """

    def __init__(self, tensors: Mapping[str, Tensor], num_heads: int, use_rope: bool) -> None:
        self.tensors = {name: x.double() for name, x in tensors.items() if x.is_floating_point()}
        self.num_heads = num_heads
        self.use_rope = use_rope

    def logits(self, v_p: Tensor, v_f: Tensor, a_p: Tensor, a_f: Tensor) -> Tensor:
        """Returns [3, B, T_f, H, W, V] from v_p and v_f [B, 3, T, H, W], a_p and a_f [B, 17 * T, 25]."""
        past = v_p.shape[2]
        streams = []
        for tokens, span in ((v_p, slice(past)), (v_f, slice(past, past + v_f.shape[2]))):
            tables = [self.tensors[f"video_token_embed.embeddings.{latent}.weight"] for latent in range(3)]
            embedded = sum(table[tokens[:, latent]] for latent, table in enumerate(tables))
            streams.append(embedded + self.tensors["video_pos_embed"][:, span])
        for actions, span in ((a_p, slice(past)), (a_f, slice(past, past + v_f.shape[2]))):
            hidden = F.gelu(self._linear("action_embedding.embedding.0", actions.double()))
            frames = self._linear("action_embedding.embedding.2", hidden)
            streams.append(frames.unflatten(1, (-1, 17)).mean(2) + self.tensors["action_pos_embed"][:, span])
        layer = 0
        while f"transformer.layers.{layer}.mlp_norm.weight" in self.tensors:
            streams = self._block(f"transformer.layers.{layer}", streams)
            layer += 1
        features = self._norm("transformer.final_norm", streams[1])
        return torch.stack([self._linear(f"output_projs.{latent}", features) for latent in range(3)])

    def _block(self, name: str, streams: list[Tensor]) -> list[Tensor]:
        """Applies a block to video streams [B, T, H, W, D] and action streams [B, T, D]."""
        streams = list(streams)
        for index in (0, 1):
            shared = f"{name}.spatial_mlp.fc1.weight" in self.tensors
            suffix = "" if shared else f"_{STREAMS[index]}"
            normalised = self._norm(f"{name}.spatial_norm", streams[index])
            streams[index] = streams[index] + self._spatial(f"{name}.spatial_attn{suffix}", normalised)
            normalised = self._norm(f"{name}.spatial_mlp_norm", streams[index])
            streams[index] = streams[index] + self._mlp(f"{name}.spatial_mlp{suffix}", normalised)
        updates = self._temporal(f"{name}.temporal_attn", [self._norm(f"{name}.temporal_norm", x) for x in streams])
        streams = [x + update for x, update in zip(streams, updates, strict=True)]
        return [
            x + self._mlp(f"{name}.mlp_{stream}", self._norm(f"{name}.mlp_norm", x))
            for stream, x in zip(STREAMS, streams, strict=True)
        ]

    def _spatial(self, name: str, x: Tensor) -> Tensor:
        """Computes attention among the positions of each clip."""
        rows, columns = x.shape[2:4]
        position, pairs = torch.arange(rows * columns), x.shape[-1] // self.num_heads // 4
        angles = torch.cat([_angles(axis, pairs) for axis in (position // columns, position % columns)], dim=-1)
        return self._attention(name, x.flatten(2, 3), angles).view_as(x)

    def _temporal(self, name: str, streams: list[Tensor]) -> list[Tensor]:
        """Computes attention at each position among all clips of all streams, in the order of STREAMS."""
        rows, columns = streams[0].shape[2:4]
        copied = [x if x.ndim == 5 else x[:, :, None, None].expand(-1, -1, rows, columns, -1) for x in streams]
        if f"{name}.stream_type_emb" in self.tensors:
            copied = [x + kind for x, kind in zip(copied, self.tensors[f"{name}.stream_type_emb"], strict=True)]
        joined = torch.cat(copied, dim=1).movedim(1, 3)
        angles = _angles(torch.arange(joined.shape[3]), joined.shape[-1] // self.num_heads // 2)
        mixed = self._attention(name, joined, angles).movedim(3, 1).split([x.shape[1] for x in streams], dim=1)
        return [part if x.ndim == 5 else part.mean((2, 3)) for x, part in zip(streams, mixed, strict=True)]

    def _attention(self, name: str, x: Tensor, angles: Tensor) -> Tensor:
        """Computes attention among N vectors [..., N, D]; adjacent channels rotate as complex numbers."""
        q, k, v = self._linear(f"{name}.qkv", x).unflatten(-1, (3, self.num_heads, -1)).unbind(-3)
        if self.use_rope:
            turn = torch.polar(torch.ones_like(angles), angles)[:, None]
            q, k = (
                torch.view_as_real(torch.view_as_complex(y.unflatten(-1, (-1, 2)).contiguous()) * turn).flatten(-2)
                for y in (q, k)
            )
        weights = (torch.einsum("...ihc,...jhc->...hij", q, k) * q.shape[-1] ** -0.5).softmax(-1)
        return self._linear(f"{name}.proj", torch.einsum("...hij,...jhc->...ihc", weights, v).flatten(-2))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"))

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])

    def _mlp(self, name: str, x: Tensor) -> Tensor:
        return self._linear(f"{name}.fc2", F.gelu(self._linear(f"{name}.fc1", x)))


def _angles(positions: Tensor, pairs: int) -> Tensor:
    """Returns the angle of each pair of channels at each position, [N, pairs]."""
    return positions[:, None].double() * 10_000.0 ** (-torch.arange(pairs).double() / pairs)
