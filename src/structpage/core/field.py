"""Bit fields as data: the declaration from which masks, getters, setters and pictures derive.

Terminology: a *word* is 64 bits; a *field* is a run of bits of one word, with a meaning in some
*states* of the frame; a *layout* is the table of all fields of a descriptor. Some words are left to the placement while
the frame is free; a field that only one placement has is named with it, and shares no bit with a field that all have.

Words live in signed 64-bit buffers in the core and in unsigned ones in numpy arrays. A field that
reaches bit 63 is `top`: what is stored must be the sign-extended value, which is what `put` returns
and what the setters of `memmap` compute; `get` masks, so it reads both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

WORD_BITS = 64
_FULL = (1 << WORD_BITS) - 1


def signed(word: int) -> int:
    """Return an unsigned 64-bit value as the signed one with the same bits."""
    return word - (1 << WORD_BITS) if word >> (WORD_BITS - 1) else word


class Field(NamedTuple):
    """A run of `width` bits from bit `shift` of word `word`, which means `meaning` in `states`.

    Under one placement alone, if `placement` is its name.
    """

    name: str
    word: int
    shift: int
    width: int
    states: frozenset[str]
    meaning: str
    placement: str = ""

    @property
    def max(self) -> int:
        """The largest value it holds."""
        return (1 << self.width) - 1

    @property
    def mask(self) -> int:
        """Its bits within the word, unsigned."""
        return self.max << self.shift

    @property
    def top(self) -> bool:
        """Whether it reaches bit 63, so that a signed buffer stores it sign-extended."""
        return self.shift + self.width == WORD_BITS

    def get(self, word: Any) -> Any:
        """Return the field of a word, or of every word of an unsigned array."""
        return (word >> self.shift) & self.max

    def put(self, word: int, value: int) -> int:
        """Return `word` with this field set, as a signed 64-bit value.

        Raises `ValueError` when `value` does not fit.
        """
        if not 0 <= value <= self.max:
            message = f"{self.name} must be between 0 and {self.max}, not {value}"
            raise ValueError(message)
        return signed((word & _FULL & ~self.mask) | (value << self.shift))


class Layout:
    """The table of all fields of a descriptor, and everything that is derived from it.

    `words` is the number of 64-bit words per frame, `tags` maps the name of each state to the value
    of the field `tag` that says so, and `aliases` maps other values to states. Raises `ValueError` when two fields
    of one state, under one placement, share a bit.
    """

    def __init__(
        self, name: str, words: int, tags: dict[str, int], aliases: dict[int, str], fields: tuple[Field, ...]
    ) -> None:
        self.name = name
        self.words = words
        self.tags = tags
        self.fields = fields
        self.states = aliases | {tag: state for state, tag in tags.items()}
        self._check()

    def _check(self) -> None:
        for state in self.tags:
            for placement in self.placements(state):
                self._check_apart(state, placement)

    def _check_apart(self, state: str, placement: str) -> None:
        used = [0] * self.words
        for field in self.of_state(state, placement):
            if used[field.word] & field.mask or field.mask > _FULL:
                message = f"{self.name}: field {field.name!r} must have bits of its own in state {state!r}"
                raise ValueError(message)
            used[field.word] |= field.mask

    @property
    def max_frames(self) -> int:
        """The most frames whose PFNs fit wherever a PFN stands, but for the placements' links."""
        return min((field.max + 1 for field in self.fields if field.name == "head"), default=1 << 52)

    def placements(self, state: str) -> list[str]:
        """Return the placements that have fields of their own in a state, after `""`, which stands for any other."""
        return list(dict.fromkeys(["", *(field.placement for field in self.fields if state in field.states)]))

    def of_state(self, state: str, placement: str = "") -> list[Field]:
        """Return the fields that mean something in a state, by word, low bits first.

        Those that all placements have, and those of one.
        """
        fields = [field for field in self.fields if state in field.states and field.placement in ("", placement)]
        return sorted(fields, key=lambda field: (field.word, field.shift))

    def field(self, name: str, state: str | None = None, placement: str = "") -> Field:
        """Return a field by name, of one state where a name has several places; `KeyError` if there is none."""
        for field in self.fields:
            if field.name == name and (state is None or state in field.states) and field.placement in ("", placement):
                return field
        raise KeyError(name)

    def state_of(self, word: int) -> str | None:
        """Return the state that a descriptor's first word tells, `None` for an unused tag."""
        return self.states.get(self.field("tag").get(word))

    def pack(self, state: str, **values: int) -> tuple[int, ...]:
        """Return the signed words of a descriptor in `state` with the named fields set.

        Raises `KeyError` for a field that the state has not, `ValueError` for a value that does not fit.
        """
        words = [0] * self.words
        for name, value in {"tag": self.tags[state], **values}.items():
            field = self.field(name, state)
            words[field.word] = field.put(words[field.word], value)
        return tuple(words)

    def unpack(self, words: tuple[int, ...]) -> dict[str, int]:
        """Return the fields of a descriptor by name; only `tag` where the tag is unused."""
        state = self.state_of(words[0])
        fields = [self.field("tag")] if state is None else self.of_state(state)
        return {field.name: field.get(words[field.word]) for field in fields}

    def table(self) -> Iterator[tuple[str, str, str, str, str]]:
        """Yield a row per field: name, word, bits, states, meaning."""
        by_place = sorted(self.fields, key=lambda field: (field.word, field.shift, field.name, field.placement))
        for field in by_place:
            last = field.shift + field.width - 1
            bits = f"{field.shift}" if field.width == 1 else f"{field.shift}-{last}"
            states = "all" if len(field.states) == len(self.tags) else ", ".join(sorted(field.states))
            meaning = f"placement {field.placement}: {field.meaning}" if field.placement else field.meaning
            yield field.name, WORD_NAMES[self.words][field.word], bits, states, meaning

    def diagram(self) -> str:
        """Return a text picture: per state and word, the fields from bit 63 down, with their bits.

        A word that placements have fields of their own in has a line for each of them below.
        """
        lines = [f"{self.name}: {8 * self.words} bytes a frame"]
        for state, tag in self.tags.items():
            lines.append(f"{state} (tag {tag})")
            for index, word in enumerate(WORD_NAMES[self.words]):
                for placement in self.placements(state):
                    fields = [field for field in self.of_state(state, placement) if field.word == index]
                    if not placement:
                        lines.append(f"  {word:9} |{'|'.join(_cells(fields))}|")
                    elif any(field.placement for field in fields):
                        lines.append(f"    {placement:15} |{'|'.join(_cells(fields))}|")
        return "\n".join(lines)


WORD_NAMES = {2: ("allocator", "allocatee"), 1: ("memdesc",)}


def _cells(fields: list[Field]) -> Iterator[str]:
    above = WORD_BITS
    for field in reversed(fields):
        end = field.shift + field.width
        if end < above:
            yield f" - {_bits(end, above)} "
        yield f" {field.name} {_bits(field.shift, end)} "
        above = field.shift
    if above:
        yield f" - {_bits(0, above)} "


def _bits(start: int, stop: int) -> str:
    return f"{start}" if stop - start == 1 else f"{stop - 1}:{start}"
