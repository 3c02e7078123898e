"""The match module: how well each thing of a scan fits a sentence.

A two-way GRU reads the words; what each means is learned, or told by `minilm`. Five roles each attend to some of them
and say a class: that of the thing which is looked for, of two anchors, and of two things where somebody stands and
looks. Things tell their class as well; those that agree with a role take it. Where each thing is to them (`relations`)
is weighed by the sentence.

Source: ours. Role attention is MAttNet's (arXiv 1801.08186), anchors by the class that things and words agree on are
NS3D's (arXiv 2303.13483), the losses of classes are ReferIt3DNet's. Attention among things with a bias by distance, as
M3DRef-CLIP has it, did not learn to compare from some dozens of scans, see the documentation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .colors import COLORS
from .relations import PLACES, places, tints

ROLES = 5
"""The thing that is meant, an anchor, another one, where somebody stands, and where they look."""
LONGEST = 64
"""Words of a sentence; further ones are not read."""
PAD, UNKNOWN = 0, 1
"""Words that there are in any vocabulary."""
_LEAST = 1e-6  # of a probability


@dataclass(frozen=True, eq=False)
class Batch:
    """b scans of k things each, and s sentences of l words about each scan; what is not `there` fills up."""

    things: Tensor  # (b, k, c) float32
    geometry: Tensor  # (b, k, GEOMETRY)
    there: Tensor  # (b, k) booleans
    words: Tensor  # (b, s, l) numbers of words, PAD after the last
    meanings: Tensor  # (b, s, l, m) float32, what is known of words, zeros where nothing is


@dataclass(frozen=True, eq=False)
class Judged:
    """What the module says."""

    fits: Tensor
    """(b, s, k) logits, minus infinity where there is no thing."""
    kinds: Tensor
    """(b, k, classes) logarithms of how likely each class of a thing is."""
    said: Tensor
    """(b, s, ROLES, classes) logarithms of how likely each class of what has a role is."""


class MatchModule(nn.Module):
    """Things and words to a number for each thing and sentence.

    Args:
        channels: what is known of a thing, beside its geometry.
        vocabulary: the words, without those of any vocabulary.
        classes: of things.
        width: channels of words and things.
        dropout: share of what is left out while learning.
        meanings: m, what is known of a word; of 0 the module learns what each word of the vocabulary means.
    """

    def __init__(
        self, channels: int, vocabulary: Sequence[str], classes: int, *, width: int, dropout: float, meanings: int = 0
    ) -> None:
        super().__init__()
        self.told = meanings > 0
        self.kind = nn.Sequential(
            *(nn.Dropout(dropout), nn.Linear(channels, width), nn.LayerNorm(width), nn.ReLU()),
            *(nn.Dropout(dropout), nn.Linear(width, classes)),
        )
        self.word = nn.Linear(meanings, width) if self.told else nn.Embedding(len(vocabulary) + 2, width)
        self.read = nn.GRU(width, width // 2, bidirectional=True, batch_first=True)
        self.heed, self.say = nn.Linear(width, ROLES + 1), nn.Linear(width, classes)
        self.see = nn.Sequential(
            *(nn.Linear(PLACES + 1 + len(COLORS), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        )
        self.weigh, self.fit = nn.Linear(width, width), nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.score, self.dropout = nn.Linear(width, 1), nn.Dropout(dropout)
        colored = torch.tensor([[word == color for color in COLORS] for word in ("", "", *vocabulary)])
        self.register_buffer("colored", colored.float(), persistent=False)

    def forward(self, batch: Batch) -> Judged:
        """Return how well things fit, and the classes of things and sentences."""
        roles, sentence = self._heard(batch.words, batch.meanings)
        said, kinds = self.say(roles).log_softmax(3), self.kind(batch.things).log_softmax(2)
        likely = torch.einsum("bsrc,bkc->bsrk", said.exp(), kinds.exp()).clamp(min=_LEAST) * batch.there[:, None, None]
        meant, anchors = likely[:, :, 0], likely[:, :, 1:]
        where = places(batch.geometry, meant, anchors / anchors.sum(3, keepdim=True))
        colors = tints(batch.geometry)
        named = torch.einsum("bslc,bkc->bsk", self.colored[batch.words], colors)
        seen = [where, named[..., None], colors[:, None].expand(-1, where.shape[1], -1, -1)]
        weighed = self.see(torch.cat(seen, 3)) * self.weigh(self.dropout(sentence))[:, :, None]
        fits = self.score(self.fit(weighed)).squeeze(3) + meant.clamp(min=_LEAST).log()
        return Judged(fits.masked_fill(~batch.there[:, None], -torch.inf), kinds, said)

    def _heard(self, words: Tensor, meanings: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each role (b, s, ROLES, width) and the whole sentence (b, s, width) hear of words (b, s, l)."""
        flat = words.flatten(0, 1)
        read = self.dropout(self.word(meanings.flatten(0, 1) if self.told else flat))
        lengths = (flat != PAD).sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(read, lengths, batch_first=True, enforce_sorted=False)
        around, _ = nn.utils.rnn.pad_packed_sequence(self.read(packed)[0], batch_first=True, total_length=flat.shape[1])
        heard = around + read
        heed = self.heed(heard).masked_fill((flat == PAD)[..., None], -torch.inf).softmax(1)
        parts = torch.einsum("nlr,nlw->nrw", heed, heard).unflatten(0, words.shape[:2])
        return parts[:, :, :ROLES], parts[:, :, ROLES]
