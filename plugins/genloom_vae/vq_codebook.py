"""The codebook of a VQ-VAE: entries that are running averages of what chooses them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom_train.devices import Peers

NEAR = 1e-5
"""Distances that differ by less than this share of the largest are equal but for rounding."""


FADED = 1e-6
"""A count below which an entry that nothing chooses does not fade any more, where none restart:
what is left of its sum over what is left of its count would end in rounding."""


class Codebook(nn.Module):
    """Entries that follow the encoder (van den Oord et al. 2017, appendix A.1).

    There are no parameters: an entry is a running sum over a running count, both buffers, so that
    a checkpoint holds them. Several processes keep one codebook, that of the whole batch. A new
    one is empty; the first call of `follow` fills it with outputs of the encoder.

    Args:
        codes: entries.
        embedding: dimensions of an entry.
        decay: of the running averages.
        restart: share of an even use at or below which an entry is put somewhere else; at 0 one
            that was ever filled stays, however long nothing chooses it.
    """

    counts: Tensor
    sums: Tensor

    def __init__(self, codes: int, embedding: int, decay: float, restart: float) -> None:
        super().__init__()
        self.decay, self.restart = decay, restart
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, embedding))

    @property
    def entries(self) -> Tensor:
        """Codes×embedding; zeros before the first call of `follow`."""
        return self.sums / self.counts.clamp_min(1e-12)[:, None]

    def nearest(self, latent: Tensor) -> Tensor:
        """The entry nearest to each place of N×embedding×h×w, as codes N×(h·w)."""
        return nearest(self.entries, latent)

    def look_up(self, codes: Tensor, size: tuple[int, int]) -> Tensor:
        """Codes N×(h·w) as entries N×embedding×h×w."""
        return look_up(self.entries, codes, size)

    @torch.no_grad()
    def follow(self, latent: Tensor, codes: Tensor, peers: Peers | None = None) -> None:
        """Move entries towards the outputs of the encoder that chose them.

        Those that nothing chooses any more are put on outputs drawn by torch's generator, the
        likelier the farther they lie from their entry, as k-means++ does (Arthur & Vassilvitskii
        2007): most places of a picture are background, which one entry serves.

        Args:
            latent: N×embedding×h×w.
            codes: what `nearest` made of it.
            peers: processes that each have a part of the batch; all of them follow the whole.
        """
        points, chosen = _points(latent), codes.flatten()
        if peers is not None:
            points, chosen = peers.gather(points), peers.gather(chosen)
        error = (points - self.entries[chosen]).square().sum(1)
        used = torch.bincount(chosen, minlength=len(self.counts)).to(points.dtype)
        total = torch.zeros_like(self.sums).index_add_(0, chosen, points)
        if not self.restart:
            faded = (used == 0) & (self.counts * self.decay < FADED)
            used = torch.where(faded, self.counts, used)
            total = torch.where(faded[:, None], self.sums, total)
        self.counts.lerp_(used, 1 - self.decay)
        self.sums.lerp_(total, 1 - self.decay)
        even = len(points) / len(self.counts)
        dead = (self.counts <= self.restart * even).nonzero().flatten()
        if len(dead):
            # Twice what is dead: a new entry has the time in which a count halves to be chosen.
            self.counts[dead] = even * (2 * self.restart or 1.0)
            drawn = torch.multinomial(error + 1e-12, len(dead), len(dead) > len(points))
            drawn = drawn if peers is None else peers.from_first(drawn)
            self.sums[dead] = self.counts[dead, None] * points[drawn]


def nearest(entries: Tensor, latent: Tensor) -> Tensor:
    """N×embedding×h×w → N×(h·w) int64: the nearest entry, the first of equally near ones."""
    return distances(entries, latent).argmin(2)


def distances(entries: Tensor, latent: Tensor) -> Tensor:
    """N×embedding×h×w → N×(h·w)×codes: |z − e|² without |z|², which is the same for every entry."""
    points = latent.float().flatten(2).transpose(1, 2)
    return entries.square().sum(1) - 2 * (points @ entries.T)


def near_ties(entries: Tensor, latent: Tensor) -> Tensor:
    """N×embedding×h×w → (N,) bool: whether two entries are equally near somewhere."""
    found = distances(entries, latent)
    first, second = found.topk(2, dim=2, largest=False).values.unbind(2)
    return (second - first <= NEAR * found.abs().amax(2)).any(1)


def look_up(entries: Tensor, codes: Tensor, size: tuple[int, int]) -> Tensor:
    """N×(h·w) int64 → N×embedding×h×w."""
    found = functional.embedding(codes, entries)
    return found.transpose(1, 2).reshape(-1, entries.shape[1], *size)


def straight_through(latent: Tensor, quantised: Tensor) -> Tensor:
    """The values of `quantised`, and gradients as if nothing had been quantised."""
    return latent + (quantised - latent).detach()


def perplexity(codes: Tensor, entries: int) -> Tensor:
    """How many entries are in use, as e to the entropy of their frequencies; a scalar."""
    shares = torch.bincount(codes.flatten(), minlength=entries) / codes.numel()
    return (shares * shares.clamp_min(1e-12).log()).sum().neg().exp()


def _points(latent: Tensor) -> Tensor:
    """N×embedding×h×w → (N·h·w)×embedding, float32."""
    return latent.float().permute(0, 2, 3, 1).flatten(0, 2)
