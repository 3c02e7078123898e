"""MiniLM: what each word of a sentence means there, by a language model that has read far more than our sentences.

all-MiniLM-L6-v2 of sentence-transformers is under Apache-2.0 and not part of msm3d: two files, 91 MB, are downloaded
when a sentence is first read, or lie in the folder that the variable MSM3D_MINILM of the environment names. Their
hashes are pinned, so that a head means the same everywhere. Nothing is learned here, and no package is needed: words
are of small letters only, and then the cutting into pieces is a search in a list.

Source: BERT, arXiv 1810.04805, with weights distilled as arXiv 2002.10957 says and tuned on pairs of sentences.
"""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain, groupby
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import WeightsError
from ...weights import whole
from ...weights.store import sha256

REPO, REVISION = "sentence-transformers/all-MiniLM-L6-v2", "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
PIECES, MODEL = "vocab.txt", "model.safetensors"
FILES = {
    PIECES: "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    MODEL: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
"""Their sha256, as the Hub has them."""
FOLDER = "MSM3D_MINILM"
"""The variable of the environment that names a folder with the files."""
WIDTH, HEADS, LAYERS = 384, 12, 6  # config.json beside the files
_EPSILON = 1e-12  # likewise
_LONGEST = 100  # letters of a word that is cut into pieces, as BERT has it
_MOST = 7  # pieces of a word: as many for each word that a head reads have their places
_AT_ONCE = 64  # sentences


class MiniLM:
    """The encoder and its word pieces.

    Args:
        tensors: of `MODEL`, by their names there.
        pieces: lines of `PIECES`; "##" begins those that do not begin a word.
    """

    def __init__(self, tensors: Mapping[str, Tensor], pieces: Sequence[str]) -> None:
        self.tensors, self.pieces = tensors, {piece: number for number, piece in enumerate(pieces)}

    def meanings(self, sentences: Sequence[Sequence[str]]) -> list[Tensor]:
        """Return (l, WIDTH) float16 on the CPU for each sentence of l words, at least one, in small letters: the mean
        of what the last layer says of a word's pieces. A sentence that comes again is not read again."""
        cut = {words: [self.cut(word) for word in words] for words in dict.fromkeys(map(tuple, sentences))}
        length = {words: sum(map(len, pieces)) for words, pieces in cut.items()}
        found = {}
        for _, group in groupby(sorted(cut, key=length.__getitem__), length.__getitem__):
            same = list(group)  # of one length, so that nothing is filled up
            for some in (same[start : start + _AT_ONCE] for start in range(0, len(same), _AT_ONCE)):
                ends = self.pieces["[CLS]"], self.pieces["[SEP]"]
                states = self.states([[ends[0], *chain(*cut[words]), ends[1]] for words in some])[:, 1:-1].cpu()
                for words, state in zip(some, states, strict=True):
                    parts = state.split([len(pieces) for pieces in cut[words]])
                    found[words] = torch.stack([part.mean(0) for part in parts]).half()
        return [found[tuple(words)] for words in sentences]

    def cut(self, word: str) -> list[int]:
        """Return the numbers of a word's pieces, each the longest that there is where the one before it ends."""
        found, start = [], 0
        while start < len(word) <= _LONGEST:
            ends = range(len(word), start, -1)
            known = (end for end in ends if ("##" if start else "") + word[start:end] in self.pieces)
            if (end := next(known, None)) is None:
                break
            found.append(self.pieces[("##" if start else "") + word[start:end]])
            start = end
        return found[:_MOST] if start == len(word) else [self.pieces["[UNK]"]]

    @torch.no_grad()
    def states(self, numbers: Sequence[Sequence[int]]) -> Tensor:
        """Return the last layer's states (s, l, WIDTH) of sentences of l pieces each."""
        tensors = self.tensors

        def linear(x: Tensor, name: str) -> Tensor:
            return F.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

        def norm(x: Tensor, name: str) -> Tensor:
            weight, bias = (tensors[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
            return F.layer_norm(x, weight.shape, weight, bias, _EPSILON)

        words, places, kinds = (
            tensors[f"embeddings.{n}_embeddings.weight"] for n in ("word", "position", "token_type")
        )
        read = torch.tensor(numbers, device=words.device)
        x = norm(words[read] + places[: read.shape[1]] + kinds[0], "embeddings")
        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}"
            parts = (linear(x, f"{at}.attention.self.{part}") for part in ("query", "key", "value"))
            heads = [part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in parts]
            seen = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
            x = norm(x + linear(seen, f"{at}.attention.output.dense"), f"{at}.attention.output")
            wide = F.gelu(linear(x, f"{at}.intermediate.dense"))
            x = norm(x + linear(wide, f"{at}.output.dense"), f"{at}.output")
        return x


def opened(device: str = "cpu") -> MiniLM:
    """Return MiniLM on a device, read once in a process, and downloaded once where no folder has it.

    Raises:
        WeightsError: it cannot be downloaded, or a file is missing, damaged or another one.
    """
    return _opened(os.environ.get(FOLDER) or None, device)


@lru_cache(maxsize=1)
def _opened(folder: str | None, device: str) -> MiniLM:
    from safetensors.torch import load_file

    pieces, model = (_file(folder, name) for name in FILES)
    return MiniLM(load_file(model, device=device), pieces.read_text(encoding="utf-8").split("\n"))


def _file(folder: str | None, name: str) -> Path:
    """Return one of `FILES` as it should be."""
    both = f"{PIECES} and {MODEL} of huggingface.co/{REPO}"
    if folder is None:
        cure = f"ask once while online, or set {FOLDER} to a folder with {both}."
        return whole(REPO, name, REVISION, FILES[name], cure=cure)
    path = Path(folder).expanduser() / name
    if not path.is_file():
        raise WeightsError(f"{FOLDER} is {folder!r}, where there is no {name}; set it to a folder with {both}.")
    if (found := sha256(path)) != FILES[name]:
        raise WeightsError(f"{path} is another file: its sha256 is {found}, not {FILES[name]}; put {both} there.")
    return path
