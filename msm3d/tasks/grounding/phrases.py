"""How relations are said: forms that sentences to learn from have, others that are kept for tests alone, and nouns.

In a form, {t} is the thing that is meant, {a} and {b} are anchors, {v} and {w} where somebody stands and looks, {c} is
a colour and {n} an ordinal number.
"""

import re
import unicodedata

LEARNED: dict[str, tuple[str, ...]] = {
    "class": ("the {t}", "find the {t}", "this is the {t} in the room", "where is the {t}"),
    "color": (
        "the {c} {t}", "find the {c} {t}", "the {t} that is {c}", "choose the {t} of {c} color",
        "this is a {c} {t}",
    ),
    "largest": ("the largest {t}", "find the biggest {t}", "the {t} that is the largest", "choose the big {t}"),
    "smallest": ("the smallest {t}", "find the smallest {t}", "the {t} that is the smallest", "choose the small {t}"),
    "closest": (
        "the {t} closest to the {a}", "find the {t} that is closest to the {a}", "the {t} nearest to the {a}",
        "choose the {t} nearest the {a}",
    ),
    "farthest": (
        "the {t} farthest from the {a}", "find the {t} that is farthest from the {a}",
        "the {t} most distant from the {a}", "choose the {t} furthest from the {a}",
    ),
    "near": (
        "the {t} next to the {a}", "find the {t} near the {a}", "the {t} that is beside the {a}",
        "choose the {t} that is close to the {a}",
    ),
    "between": (
        "the {t} between the {a} and the {b}", "find the {t} that is between the {a} and the {b}",
        "the {t} in the middle of the {a} and the {b}",
    ),
    "left": (
        "standing at the {v} and looking at the {w} the {t} left of the {a}",
        "from the {v} facing the {w} find the {t} to the left of the {a}",
        "the {t} left of the {a} when standing at the {v} and looking at the {w}",
    ),
    "right": (
        "standing at the {v} and looking at the {w} the {t} right of the {a}",
        "from the {v} facing the {w} find the {t} to the right of the {a}",
        "the {t} right of the {a} when standing at the {v} and looking at the {w}",
    ),
    "ordinal": (
        "the {n} {t} from the {a}", "find the {n} {t} from the {a}", "counting from the {a} choose the {n} {t}",
        "the {t} that is the {n} from the {a}",
    ),
    "above": (
        "the {t} above the {a}", "find the {t} that is above the {a}", "the {t} over the {a}",
        "choose the {t} higher than the {a}",
    ),
    "on": ("the {t} on the {a}", "find the {t} that is on the {a}", "the {t} on top of the {a}"),
}  # fmt: skip
"""Forms of each relation to learn from, and to be tested on."""
HELD: dict[str, tuple[str, ...]] = {
    "class": ("look for the {t}", "in the room choose the {t}"),
    "color": ("find a {t} whose color is {c}", "there is a {t} and it is {c}"),
    "largest": ("which {t} is the biggest", "this {t} is the largest of all"),
    "smallest": ("which {t} is the smallest", "this {t} is the smallest of all"),
    "closest": ("which {t} is closest to the {a}", "to the {a} this {t} is the nearest"),
    "farthest": ("which {t} is the farthest from the {a}", "from the {a} this {t} is the most distant"),
    "near": ("the {a} has a {t} next to it find the {t}", "there is a {t} close to the {a}"),
    "between": ("between the {a} and the {b} is the {t}", "which {t} is in the middle between the {a} and the {b}"),
    "left": ("standing at the {v} facing the {w} choose the {t} to the left of the {a}",),
    "right": ("standing at the {v} facing the {w} choose the {t} to the right of the {a}",),
    "ordinal": ("which {t} is the {n} from the {a}", "from the {a} this is the {n} {t}"),
    "above": ("which {t} is above the {a}", "over the {a} there is a {t}"),
    "on": ("which {t} is on top of the {a}", "on the {a} there is a {t}"),
}  # fmt: skip
"""Forms that no sentence to learn from has."""
ALSO = {
    "sofa": "couch", "refrigerator": "fridge", "picture": "painting", "bookshelf": "shelf", "bathtub": "tub",
    "bookcase": "shelf",
}  # fmt: skip
"""A second noun of some classes."""
NAMELESS = {"otherfurniture", "clutter", "object", "furniture", "structure"}
"""Classes of which nobody would speak."""
ORDINALS = {2: "second", 3: "third", 4: "fourth"}


def words(text: str) -> list[str]:
    """Return the words of a sentence, small letters without accents only.

    >>> words("The chaise longue, closest to the café's door!")
    ['the', 'chaise', 'longue', 'closest', 'to', 'the', 'cafe', 's', 'door']
    """
    plain = unicodedata.normalize("NFKD", text.lower())
    return re.findall(r"[a-z]+", "".join(letter for letter in plain if not unicodedata.combining(letter)))
