"""Every message of the package: plain sentences that say what to do next, their words in one snapshot.

`python tests/test_messages.py` writes the snapshot, tests/data/messages.txt, anew. Read what changed before you commit.
"""

import ast
import re
from pathlib import Path

import pytest

import msm3d

ROOT = Path(msm3d.__file__).parent
SNAPSHOT = Path(__file__).parent / "data" / "messages.txt"
RAISED = re.compile(r"(Error|Warning|Exit)$")
NEXT = re.compile(
    r"\b(give|pass|choose|use|drop|install|run|type|make|download|save|export|see|leave|check|did you mean|add|put|"
    r"take|call|split|name|end it|close|free|delete|write|start|raise|get|set|try|say|read|convert|fetch|ask|wait|move|"
    r"open|must be|must hold|must have|needs?|(is|are) needed|let|lower|reduce|upgrade|remove|keep|copy|change|tell|"
    r"rename|select|build|wrap|fit|extract|resolve|draw|colou?r|reinstall|there is nothing)\b"
)
RIDDLES = {
    r"(?<!there )\b(is|are) no\b(?! longer)": "is not a",
    r"\bor no \w+ file\b": "or not a … file",
    r"\bit is none\b": "it is not one",
    r"\bof them there (is|are)\b": "has",
    r"\bis said\b": "a warning says",
    r"\bmust not be any more\b": "must not be",
}


CAUSES = {
    "a scan has the fields {}, which are not positions",
    "it has {} features",
    "its class has another architecture",
    "its classes are {}, not ascending labels",
    "the bank is empty, or holds labels that are not classes of the head",
    "there is a {} of {} already",
    "there is no function {}, which every {} has",
    "what it says about itself, {}, cannot be used",
    "{} features are not the {} of its network",
    "SUFFIXES is {}; give lower-case endings with their point: ('.abc',)",
    "TITLE is {}; give the name of the format, such as 'ABC'",
}
"""What is only ever quoted by another message, which ends the sentence."""


def words(node: ast.expr) -> str | None:
    """Return a text with {} for what is filled in, or None if the words are not here."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(value.value if isinstance(value, ast.Constant) else "{}" for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [words(node.left), words(node.right)]
        return None if parts == [None, None] else "".join("{}" if part is None else part for part in parts)
    if isinstance(node, ast.IfExp):
        parts = [words(node.body), words(node.orelse)]
        return None if None in parts else " | ".join(parts)
    return None


def messages(source: str) -> list[str]:
    """Return the messages that a source raises, or makes to be raised."""
    found = []
    for node in ast.walk(ast.parse(source)):
        made = node.exc if isinstance(node, ast.Raise) else node.value if isinstance(node, ast.Return) else None
        if not (isinstance(made, ast.Call) and made.args):
            continue
        name = made.func.id if isinstance(made.func, ast.Name) else getattr(made.func, "attr", "")
        if RAISED.search(name) and name != "OSError" and (text := words(made.args[0])):
            found.append(f"{name}: {text}")
    return found


def everything() -> list[str]:
    return sorted({text for path in ROOT.rglob("*.py") for text in messages(path.read_text(encoding="utf-8"))})


def flaws(text: str) -> list[str]:
    """Return what is wrong with a message; a cause, which another message quotes, has no full stop and no advice."""
    kind, _, text = text.partition(": ")
    wrong = [f"say {better!r}" for riddle, better in RIDDLES.items() if re.search(riddle, text)]
    cause = kind == "ArgumentTypeError" or text in CAUSES
    if not cause and not text.endswith((".", "?", "{}")):
        wrong.append("end it with a full stop")
    if not cause and not NEXT.search(text) and "{}" not in text[-4:]:
        wrong.append("say what to do next")
    if re.search(r"(?<!\be\.g)(?<!\bi\.e)[a-z)]\. +[A-Z]", text):
        wrong.append("make it one sentence")
    return wrong


@pytest.mark.parametrize("text", everything())
def test_a_message_is_a_plain_sentence_that_says_what_to_do(text):
    assert flaws(text) == []


def test_the_words_are_those_of_the_snapshot():
    assert everything() == SNAPSHOT.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("InputError: {} is no folder; give one.", "say 'is not a'"),
        ("InputError: the file is wrong; give another", "end it with a full stop"),
        ("FileError: {} is truncated.", "say what to do next"),
        ("InputError: it is wrong. Give another.", "make it one sentence"),
    ],
)
def test_a_flaw_is_found(text, flaw):
    assert flaw in flaws(text)


def test_no_cause_is_listed_in_vain():
    assert {text.partition(": ")[2] for text in everything()} >= CAUSES


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(everything()) + "\n", encoding="utf-8")
