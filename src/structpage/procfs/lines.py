"""`Lines`, what the readers of this package read with, and `read_exactly`, what every one of them is.

Idea: a reader looks at the words of a line only, and the printer of the same file is its judge. What was read is
printed again, and where the given text differs from that it is not what a kernel prints: other blanks, leading zeros,
a section too many. So a reader takes only what the printer gives back byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import takewhile
from operator import eq
from typing import Any, Final, NoReturn, TypeVar

from structpage.errors import InvalidArgument, TraceError, must
from structpage.zones import ZONE_NAMES

MOST: Final = (1 << 64) - 1
"""The largest number of these files, an unsigned long."""
_SHOWN: Final = 60  # characters of a text in a message
_DIGITS: Final = len(str(MOST))

Record = TypeVar("Record")


class Lines:
    """The lines of a text, read from the first to the last; what a line may not be is a `TraceError` with its number.

    `at` lines were read; methods that look at words look at those of the line read last.
    """

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        if not self._lines[-1]:
            self._lines.pop()
        self.at = 0

    @property
    def over(self) -> bool:
        """Whether all was read."""
        return self.at >= len(self._lines)

    def ahead(self, start: str) -> bool:
        """Say whether a line is left and starts so."""
        return not self.over and self._lines[self.at].startswith(start)

    def refuse(self, rule: str, word: str | None = None) -> NoReturn:
        """Raise the `TraceError` of the line read last: it, or this word of it, must be what the rule says."""
        subject, found = ("line", self._lines[self.at - 1]) if word is None else ("word of line", word)
        raise TraceError(must(f"{subject} {self.at}", rule, repr(found[:_SHOWN])))

    def words(self, title: str, least: int = 0) -> list[str]:
        """Read a line that starts with the words of `title`, and return those after them, at least `least`."""
        named = title.split()
        rule = f"the line {' '.join(named)!r}"
        if self.over:
            raise TraceError(must(f"line {self.at + 1}", rule, "the end of the text"))
        words = self._lines[self.at].split()
        self.at += 1
        if words[: len(named)] != named or len(words) < len(named) + least:
            self.refuse(rule)
        return words[len(named) :]

    def blank(self) -> None:
        """Read a line without words."""
        if self.words(""):
            self.refuse("blank")

    def number(self, title: str, most: int = MOST) -> int:
        """Read a line of this title and a number, and return that."""
        return self.int_of(" ".join(self.words(title, 1)), most)

    def numbers(self, titles: Mapping[str, str], optional: Collection[str] = ()) -> dict[str, Any]:
        """Read a line of each title and a number, and return the numbers by the names of the titles.

        A line that is `optional`, as not every kernel prints it, may be left out, and so may its number.
        """
        return {name: self.number(title) for name, title in titles.items() if name not in optional or self.ahead(title)}

    def row(self, *titles: str, columns: int | None = None) -> tuple[int, list[str], list[str]]:
        """Read a line `Node n, zone name, ...`; return n, the name of the zone and of what else, and the values.

        There are `columns` values, or at least one where that is not given.
        """
        width = 2 * len(titles) + 1
        words = self.words("Node", width)
        if words[1:width:2] != list(titles):
            self.refuse(f"a row of Node, {', '.join(titles)}")
        names, values = [word.rstrip(",") for word in words[2:width:2]], words[width:]
        if columns is None and not values:
            self.refuse("a row with values")
        if columns is not None and len(values) != columns:
            self.refuse(f"a row of {columns} values")
        self.one_of(ZONE_NAMES, names[0])
        return self.int_of(words[0].rstrip(",")), names, values

    def one_of(self, known: Collection[str], word: str) -> None:
        """Verify that a word is a name that is known."""
        if word not in known:
            self.refuse(f"one of {', '.join(known)}", word)

    def int_of(self, word: str, most: int = MOST) -> int:
        """Return the number that a word is."""
        if not (word.isascii() and word.isdigit() and len(word) <= _DIGITS and int(word) <= most):
            self.refuse(f"a number from 0 to {most}", word)
        return int(word)

    def ints_of(self, words: Iterable[str]) -> tuple[int, ...]:
        """Return the numbers that words are."""
        return tuple(map(self.int_of, words))


def read_exactly(
    text: str, read: Callable[[Lines], Iterator[Record]], show: Callable[[Iterable[Record]], str]
) -> tuple[Record, ...]:
    """Return the records that `read` finds in the lines of a text, which is what `show` makes of them.

    Raises `TraceError` if it is not, with the first line that differs, or if there are none. O(characters).
    """
    if not isinstance(text, str):
        raise InvalidArgument(must("text", "a str", type(text).__name__))
    records = tuple(read(Lines(text)))
    if not records:
        raise TraceError(must("text", "that of at least one zone", "empty"))
    shown = show(records)
    if shown != text:
        same = sum(takewhile(bool, map(eq, shown, text)))
        place = f"line {text.count(chr(10), 0, same) + 1} from column {same - text.rfind(chr(10), 0, same)}"
        raise TraceError(must(place, _rest_of_line(shown, same), _rest_of_line(text, same)))
    return records


def _rest_of_line(text: str, start: int) -> str:
    rest = text[start : start + _SHOWN].partition("\n")
    return repr(rest[0] + rest[1]) if start < len(text) else "the end of the text"
