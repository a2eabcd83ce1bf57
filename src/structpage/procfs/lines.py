"""`Lines`, what the readers of this package read with, and `read_exactly`, what every one of them is.

Idea: a reader looks at the words of a line only, and the printer of the same file is its judge. What was read is
printed again, and where the given text differs from that it is not what a kernel prints: other blanks, leading zeros,
a section too many. So a reader takes only what the printer gives back byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from os.path import commonprefix
from typing import Final, NoReturn, TypeVar

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

    def refuse(self, rule: str, found: str | None = None) -> NoReturn:
        """Raise the `TraceError` of the line read last: it, or `found` of it, must be what the rule says."""
        value = self._lines[self.at - 1] if found is None else found
        raise TraceError(must(f"line {self.at}", rule, repr(value[:_SHOWN])))

    def words(self, title: str, least: int = 0) -> list[str]:
        """Read a line that starts with the words of `title`, and return those after them, at least `least`."""
        if self.over:
            raise TraceError(must(f"line {self.at + 1}", f"one of {title!r}", "the end of the text"))
        self.at += 1
        words, named = self._lines[self.at - 1].split(), title.split()
        if words[: len(named)] != named or len(words) < len(named) + least:
            self.refuse(f"one of {title!r}")
        return words[len(named) :]

    def number(self, title: str, most: int = MOST) -> int:
        """Read a line of this title and one number, and return that."""
        words = self.words(title, 1)
        return self.int_of(" ".join(words), most)

    def number_if(self, title: str) -> int | None:
        """Read such a line if it comes next; `None` where it does not, as in kernels that do not print it."""
        named = title.split()
        return self.number(title) if not self.over and self._lines[self.at].split()[: len(named)] == named else None

    def row(self, *titles: str, columns: int | None = None) -> tuple[int, list[str], list[str]]:
        """Read a line `Node n, zone name, ...`, and return n, the names of the zone and what else, and the values.

        There is at least one value, and there are `columns` of them if that is given.
        """
        words = self.words("Node", 2 * len(titles) + 2)
        keys, values = words[: 2 * len(titles) + 1], words[2 * len(titles) + 1 :]
        if keys[1::2] != list(titles):
            self.refuse(f"a row of Node, {', '.join(titles)}")
        if columns is not None and len(values) != columns:
            self.refuse(f"a row of {columns} values", f"{len(values)} values")
        names = [key.rstrip(",") for key in keys[2::2]]
        self.one_of("zone", names[0], ZONE_NAMES)
        return self.int_of(keys[0].rstrip(",")), names, values

    def one_of(self, what: str, name: str, known: Iterable[str]) -> None:
        """Verify that a word is a name that is known."""
        if name not in known:
            self.refuse(f"of a {what} of {', '.join(known)}", name)

    def int_of(self, word: str, most: int = MOST) -> int:
        """Return the number that a word is."""
        if not (word.isascii() and word.isdigit() and len(word) <= _DIGITS and int(word) <= most):
            self.refuse(f"of a number from 0 to {most}", word)
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
        same = len(commonprefix([shown, text]))
        place = f"line {text.count(chr(10), 0, same) + 1} from column {same - text.rfind(chr(10), 0, same)}"
        raise TraceError(must(place, _rest_of_line(shown, same), _rest_of_line(text, same)))
    return records


def _rest_of_line(text: str, start: int) -> str:
    rest = text[start : start + _SHOWN].partition("\n")
    return repr(rest[0] + rest[1]) if start < len(text) else "the end of the text"
