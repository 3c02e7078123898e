"""The match module: how well each thing of a scan fits a sentence.

Source: M3DRef-CLIP's match module as Lexicon3D has it [Lexicon3D, evals/M3DRef-CLIP]: width 128, twice attention among
things with a bias by distance and from things to words, 4 heads, post-norm, no feed-forward layers. Its frozen CLIP
is replaced by learned words, which attend to each other once, and BatchNorm by LayerNorm. Beside it, things and
sentences tell a class, as for ReferIt3DNet's two extra losses and ScanRefer's language-to-class classifier; how likely
both are of one class is part of the score.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS = 4
LONGEST = 48
"""Words of a sentence; further ones are not read."""
PAD, UNKNOWN = 0, 1
"""Words that there are in any vocabulary."""


@dataclass(frozen=True, eq=False)
class Batch:
    """b scans of k things each, and s sentences of l words about each scan; what is not `there` fills up."""

    things: Tensor  # (b, k, c) float32
    places: Tensor  # (b, k, 3) metres
    there: Tensor  # (b, k) booleans
    words: Tensor  # (b, s, l) numbers of words, PAD after the last


class Attention(nn.Module):
    """Rows look at other rows, and keep what they were: LayerNorm(x + dropout(attention))."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm, self.dropout = nn.LayerNorm(width), dropout

    def forward(self, x: Tensor, of: Tensor, bias: Tensor) -> Tensor:
        """Return (b, q, width) of `x` (b, q, width), looking at `of` (b, k, width) with `bias` (b, 1 or heads, 1 or q,
        k) on the logits."""
        q, k, v = (self._heads(part) for part in (self.query(x), self.key(of), self.value(of)))
        rate = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=rate)
        return self.norm(x + F.dropout(self.out(seen.transpose(1, 2).flatten(2)), rate))

    @staticmethod
    def _heads(x: Tensor) -> Tensor:
        return x.unflatten(2, (HEADS, -1)).transpose(1, 2)


class MatchModule(nn.Module):
    """Things and words to a number for each thing and sentence."""

    def __init__(
        self, channels: int, vocabulary: int, classes: int, *, width: int = 128, depth: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.thing = nn.Sequential(*_layer(channels, width), nn.Linear(width, width))
        self.word = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(LONGEST, width)
        self.told = Attention(width, dropout)
        self.among = nn.ModuleList(Attention(width, dropout) for _ in range(depth))
        self.toward = nn.ModuleList(Attention(width, dropout) for _ in range(depth))
        self.score = nn.Sequential(*_layer(width, width), *_layer(width, width), nn.Linear(width, 1))

        self.heed, self.said_class, self.thing_class = (nn.Linear(width, n) for n in (1, classes, classes))
        self.dropout = dropout

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (b, s, k) of the things, minus infinity where there is none, and logarithms of the probability
        of each class (b, k, classes) of things and (b, s, classes) of what sentences mean."""
        b, s, _ = batch.words.shape
        numbers = batch.words.flatten(0, 1)
        heard = torch.zeros(numbers.shape, device=numbers.device).masked_fill(numbers == PAD, -torch.inf)[:, None, None]
        words = self.word(numbers) + self.position.weight[: numbers.shape[1]]
        words = self.told(words, words, heard)
        heed = self.heed(words).masked_fill((numbers == PAD)[:, :, None], -torch.inf).softmax(1)
        meant = self.said_class((heed * words).sum(1)).log_softmax(1).unflatten(0, (b, s))
        x, bias = (
            self.thing(F.dropout(batch.things, self.dropout, self.training)),
            spatial_bias(batch.places, batch.there),
        )
        kinds = self.thing_class(x).log_softmax(2)
        same = torch.einsum("bsc,bkc->bsk", meant.exp(), kinds.exp()).clamp(min=1e-6).log()
        for i, (among, toward) in enumerate(zip(self.among, self.toward, strict=True)):
            x = among(x, x, bias)
            if i == 0:  # until here it is the same for all sentences
                x, bias = x.repeat_interleave(s, 0), bias.repeat_interleave(s, 0)
            x = toward(x, words, heard)
        fits = self.score(x).squeeze(2).unflatten(0, (b, s)) + same
        return fits.masked_fill(~batch.there[:, None], -torch.inf), kinds, meant


def spatial_bias(places: Tensor, there: Tensor) -> Tensor:
    """Return what is added to the logits (b, heads, k, k) between things at `places` (b, k, 3), of which `there`
    (b, k) are: nearness, normalised over the things, in the first head, minus the distance in the second.

    >>> bias = spatial_bias(torch.tensor([[[0.0, 0, 0], [0, 3, 4]]]), torch.tensor([[True, True]]))
    >>> bias[0, 1].tolist(), bias[0, 0].sum(1).tolist()
    ([[-0.0, -5.0], [-5.0, -0.0]], [1.0, 1.0])
    """
    far = (places[:, :, None] - places[:, None]).norm(dim=3)
    close = there[:, None] / (far + 0.01)
    none = torch.zeros_like(far)
    bias = torch.stack([close / close.sum(2, keepdim=True), -far, *[none] * (HEADS - 2)], 1)
    return bias.masked_fill(~there[:, None, None], -torch.inf)


def _layer(channels: int, width: int) -> list[nn.Module]:
    return [nn.Linear(channels, width), nn.LayerNorm(width), nn.PReLU()]
