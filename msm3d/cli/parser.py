"""A parser of arguments whose mistakes are one sentence, with what was probably meant."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from .._util.words import choices


class Parser(argparse.ArgumentParser):
    """An argument parser in msm3d's own words; values may begin with a dash."""

    def __init__(self, *args: Any, **given: Any) -> None:
        self.actions: list[argparse.Action] = []
        super().__init__(*args, **given)

    def add_argument(self, *args: Any, **given: Any) -> argparse.Action:
        """Add an argument as argparse does, and remember it."""
        self.actions.append(super().add_argument(*args, **given))
        return self.actions[-1]

    def option(self, names: str, about: str, kind: Callable[[str], Any] = str, **given: Any) -> None:
        """Add an argument: its names, what is said about it, the type of its value, and the rest as argparse has it."""
        self.add_argument(*names.split(), help=about, type=kind, **given)

    def flag(self, name: str, about: str) -> None:
        """Add an argument without a value."""
        self.add_argument(name, help=about, action="store_true")

    def quiet(self) -> None:
        """Add what silences all but warnings and errors, to a verb that takes long."""
        self.add_argument("-q", "--quiet", action="store_true", help="show warnings and errors only")

    def format_help(self) -> str:
        """Return the help; the kinds of files are looked up here, where somebody wants to read them."""
        asked = [action for action in self.actions if action.help and re.search("{(scans|outputs)}", action.help)]
        if asked:
            from ..io import READERS, WRITERS

            *outputs, last = WRITERS.suffixes()
            words = {"{scans}": READERS.titles(), "{outputs}": f"{', '.join(outputs)} or {last}"}
            for action in asked:
                for mark, kinds in words.items():
                    action.help = (action.help or "").replace(mark, kinds)
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Print one sentence and exit with 2."""
        message = re.sub(r"^argument [^:]*: (?=--)", "", message)  # it names the option itself
        end = f" See {self.prog} --help." if message.endswith((".", "?")) else f"; see {self.prog} --help"
        print(f"{self.prog}: {message}{end}", file=sys.stderr)
        raise SystemExit(2)

    def needed(self) -> str:
        """Return the call with what it needs, in one line.

        >>> parser = Parser(prog="msm3d pca")
        >>> _ = parser.add_argument("scans", nargs="+", metavar="SCAN")
        >>> _ = parser.add_argument("-o", "--output", required=True, metavar="OUT")
        >>> parser.needed()
        'msm3d pca SCAN... -o OUT [options]'
        """
        words = [self.prog]
        for action in (action for action in self.actions if action.required):
            name = str(action.metavar or action.dest).upper() + ("..." if action.nargs == "+" else "")
            words += [action.option_strings[0], name] if action.option_strings else [name]
        return " ".join([*words, "[options]"])

    def remind(self) -> NoReturn:
        """Print what the call needs, and exit with 2."""
        print(f"usage: {self.needed()}", file=sys.stderr)
        print(f"{self.epilog + '; ' if self.epilog else ''}see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)

    def understood(self, arguments: Sequence[str]) -> list[str]:
        """Return the arguments with every value joined to its option by "=", so that it may begin with a dash.

        >>> parser = Parser(prog="msm3d")
        >>> _ = parser.add_argument("--up"), parser.add_argument("-o")
        >>> _ = parser.add_argument("--levels", type=int, nargs="?", const="3")
        >>> parser.understood(["--up", "-y", "-o", "out", "--levels", "scan.ply"])
        ['--up=-y', '-o', 'out', '--levels=3', 'scan.ply']

        Exits with a sentence where an option is unknown.
        """
        known = {name: action for action in self.actions for name in action.option_strings}
        words, done = list(arguments), []
        while words:
            word = words.pop(0)
            if word == "--":
                return [*done, word, *words]
            if word.startswith("--"):
                action = self._named(word.partition("=")[0], known)
                if action is not None and action.nargs == "?" and "=" not in word:
                    done += [word] if words and self._is_value(action, words[0]) else [f"{word}={action.const}"]
                    continue
                takes = action is not None and action.nargs is None and "=" not in word
                following = words[0] if words else ""
                if takes and re.match("-[^-]", following) and following not in known:
                    word = f"{word}={words.pop(0)}"
            done.append(word)
        return done

    @staticmethod
    def _is_value(action: argparse.Action, word: str) -> bool:
        """Whether a word is the value of an option that may have none: no option, and neither a file nor `rooms:60`."""
        if word.startswith("-"):
            return False
        read: Any = action.type
        try:
            return bool(read(word))
        except (argparse.ArgumentTypeError, ValueError):
            return not (os.path.exists(word) or ":" in word or "." in word)

    def _named(self, name: str, known: dict[str, argparse.Action]) -> argparse.Action | None:
        """Return the argument of an option, which may be cut short; None where that says too little."""
        if name in known:
            return known[name]
        found = [option for option in known if option.startswith(name)]
        if not found:
            close = choices(name, [option for option in known if option.startswith("--")])
            self.error(f"unknown option {name!r}" + (f"; {close}" if close.endswith("?") else ""))
        return known[found[0]] if len(found) == 1 else None


def declared(verbs: Any, name: str, run: Any, about: str, description: str | None = None, example: str = "") -> Parser:
    """Return the parser of a new verb, which is done by `run`."""
    epilog = f"example: {example}" if example else None
    verb: Parser = verbs.add_parser(name, help=about, description=description, epilog=epilog)
    verb.set_defaults(run=run)
    return verb


def said_of(verb: str, good: Iterable[str]) -> str:
    """Return the sentence about a verb that there is not, or that was left out before a scan."""
    if os.path.exists(verb):
        return f"{verb!r} is not a verb; type one before it, as in: msm3d extract {verb} -o features.npz."
    return f"unknown verb {verb!r}; {choices(verb, list(good))}"
