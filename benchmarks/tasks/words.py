"""Words that are learned, and MiniLM's: `python benchmarks/tasks/words.py probe -o words.json`.

Heads of grounding learn from the first rooms to learn from, with things that are given, and are asked about the others:
sentences in the forms that were learned, the same in others (`HELD` of `msm3d.tasks.grounding.phrases`), and sentences
in words of `OWN` and `NOUNS`, which no form has. Rooms as for `evidence.py`.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from time import process_time

import numpy as np
import torch

import msm3d
from msm3d.evaluate import open_dataset
from msm3d.evaluate.report import check_path, machine
from msm3d.tasks import task
from msm3d.tasks.confusion import table
from msm3d.tasks.grounding import Match
from msm3d.tasks.grounding.asked import Answers, Asked
from msm3d.tasks.grounding.phrases import words
from msm3d.tasks.grounding.saying import statements
from msm3d.tasks.grounding.task import GroundingTally, Truth

NOUNS = {
    "chair": "seat", "sofa": "settee", "table": "workbench", "door": "entrance", "picture": "artwork",
    "bed": "mattress", "desk": "workstation", "curtain": "drapes", "refrigerator": "freezer", "toilet": "lavatory",
    "sink": "washbasin", "bathtub": "jacuzzi", "cabinet": "cupboard", "counter": "worktop", "window": "pane",
    "bookshelf": "bookcase",
}  # fmt: skip
"""Nouns of the classes that no sentence to learn from has."""
OWN = (
    ("class", "the {T}"), ("closest", "the {T} closest to the {a}"), ("closest", "the {t} closest to the {A}"),
    ("closest", "the {T} nearest to the {A}"), ("closest", "the {t} with the shortest distance to the {a}"),
    ("farthest", "the {t} remotest from the {a}"), ("largest", "the hugest {t}"), ("smallest", "the tiniest {t}"),
    ("near", "the {t} alongside the {a}"), ("between", "the {t} sandwiched by the {a} and the {b}"),
)  # fmt: skip
"""Forms of our own, before anything was measured; a thing in capitals has the other noun."""
MOST = 7  # sentences of a form and room
METRICS = ("acc", "unique", "multiple", "paraphrase")


def own(truth: Truth, names: list[str], relation: str, form: str) -> Iterator[tuple[str, int]]:
    """Yield sentences of a form of our own about a room, and the thing that each means, one of several of its class."""
    labels, rng = truth.things.labels, np.random.default_rng(0)
    every = list(statements(truth.things, names, relation, rng))
    several = [one for one in every if relation == "class" or np.count_nonzero(labels == one.label) > 1]
    for one in (several[i] for i in rng.permutation(len(several))):
        said = [names[one.label], *(names[labels[anchor]] for anchor in one.anchors)]
        if all(noun in NOUNS for noun in said):
            marks = dict(zip("tab", said, strict=False))
            yield form.format(**marks, **{mark.upper(): NOUNS[noun] for mark, noun in marks.items()}), one.target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with train and val")
    parser.add_argument("-o", "--output", required=True, help=".json; the Markdown goes beside it")
    parser.add_argument("--model", default="rooms-labelled", help="name or folder")
    parser.add_argument("--train", type=int, default=40, help="rooms to learn from, the first ones (default 40)")
    parser.add_argument("--test", type=int, default=30, help="rooms to test on (default 30)")
    parser.add_argument("--seeds", default="0,1", help="of the heads (default 0,1)")
    parser.add_argument("--steps", type=int, default=600, help="of the heads (default 600)")
    options = parser.parse_args()
    output, seeds = check_path(options.output), [int(seed) for seed in options.seeds.split(",")]
    torch.set_num_threads(1)
    train, test = open_dataset(options.data)
    model, judged = msm3d.load(options.model, device="cpu"), task("grounding").of(train.classes)
    learned, asked = [], []
    for scene in train.scenes[: options.train]:
        scan = scene.read()
        described = model.extract(scan, at="voxels", dtype="float16")
        learned.append(judged.examples(*described, scan, judged.labelled(scan)[::1000]))
    for scene in test.scenes[: options.test]:
        scan = scene.read()
        described = judged.inputs(*model.extract(scan, at="voxels", dtype="float16"), scan)
        asked.append((described.asked, judged.truth(scan)))
    heads = []
    for seed in seeds:
        for text in ("learned", "minilm"):
            start = process_time()
            head = Match(text=text, steps=options.steps, random_state=seed, things=0)
            head = judged.fit(head, learned)
            fitted, start, tally = process_time() - start, process_time(), GroundingTally()
            for one, truth in asked:
                tally.update(truth, Answers(head.scores(one)))
            sentences = sum(len(one.texts) for one, _ in asked)
            facts = {"text": text, "seed": seed, "fit": fitted, "sentence": (process_time() - start) / sentences}
            facts |= {"metrics": tally.metrics(), "own": {}, "vocabulary": len(head.vocabulary_)}
            for relation, form in OWN:
                hits, unknown = [], set()
                for one, truth in asked:
                    if said := [*own(truth, judged.names, relation, form)][:MOST]:
                        texts = tuple(text for text, _ in said)
                        best = head.scores(Asked(one.pooled, one.geometry, texts)).argmax(1)
                        hits += (best == [target for _, target in said]).tolist()
                        unknown |= {word for text in texts for word in words(text)} - {*head.vocabulary_}
                if hits:
                    facts["own"][form] = {
                        "sentences": len(hits),
                        "right": sum(hits) / len(hits),
                        "unknown": sorted(unknown),
                    }
            heads.append(facts)
            print(text, seed, {name: round(100 * facts["metrics"][name], 1) for name in METRICS}, flush=True)
    write(
        output, heads, {name: getattr(options, name) for name in ("model", "train", "test", "steps")} | {"seeds": seeds}
    )


def write(output: Path, heads: list[dict], settings: dict) -> None:
    """Write every head as JSON, and two tables beside it."""
    output.write_text(json.dumps({"settings": settings, "machine": machine(), "heads": heads}, indent=1) + "\n")
    kinds = {text: [one for one in heads if one["text"] == text] for text in ("learned", "minilm")}

    def cell(values: list[float]) -> str:
        return f"{100 * mean(values):.1f} ({', '.join(f'{100 * value:.1f}' for value in values)})"

    rows = [
        [text, *(cell([one["metrics"][name] for one in found]) for name in METRICS)] for text, found in kinds.items()
    ]
    forms = [
        [form, str(found["sentences"]), *(cell([one["own"][form]["right"] for one in kinds[text]]) for text in kinds)]
        for form, found in heads[0]["own"].items()
    ]
    lines = [table(["words", *METRICS], rows, 1), table(["form", "sentences", *kinds], forms, 1)]
    output.with_suffix(".md").write_text("# Learned words and MiniLM's\n\n" + "\n\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
