"""The prior over codes: a small causal transformer, row by row from the top left."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom_vae.options import VqVaeConfig


class CodePrior(nn.Module):
    """P(code | codes before it) of every place (Vaswani et al. 2017, pre-norm).

    Args:
        config: the options of the recipe.
        length: places of a picture.
    """

    def __init__(self, config: VqVaeConfig, length: int) -> None:
        super().__init__()
        width = config.prior_width
        self.start = config.codes  # the code that stands before the first
        self.embedding = nn.Embedding(config.codes + 1, width)
        self.place = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.Sequential(
            *(Block(width, config.prior_heads) for _ in range(config.prior_layers))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.codes)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, codes: Tensor) -> Tensor:
        """N×length int64 → logits N×length×entries; each place sees those before it only."""
        before = torch.cat([torch.full_like(codes[:, :1], self.start), codes[:, :-1]], dim=1)
        seen = self.blocks(self.embedding(before) + self.place)
        logits: Tensor = self.head(self.norm(seen))
        return logits

    def cost(self, codes: Tensor) -> Tensor:
        """−log P(codes) of each picture in nats, (N,)."""
        logits = self(codes).float().transpose(1, 2)
        return functional.cross_entropy(logits, codes, reduction="none").sum(1)


class Block(nn.Module):
    """Causal self-attention and a perceptron, each added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """N×length×width → the same shape."""
        parts = self.inward(self.before(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.outward(seen.transpose(1, 2).flatten(2))
        more: Tensor = self.perceptron(self.between(x))
        return x + more
