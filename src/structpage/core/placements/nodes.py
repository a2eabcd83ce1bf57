"""Nodes of one size that a placement takes and gives back: where its links live if they live in objects.

Terminology: the *store* is the memory that nodes lie in, a buffer of their own or the frames' own memory; a node is
known by its *place*, the index of its first word there, which is never 0. A node is *spare* if nobody has it: it is on
the stack, linked through its first word, or *fresh*, one of a run that nobody ever had.

Where nodes come from is not told here. A pool that has none left gives 0, counts it, and changes nothing else: who
made it has to see that it never comes to that (`structpage.machine.supply`).

Record: `state[FIRST]` is the place on top of the stack or 0, `state[FRESH]` and `state[END]` bound the run,
`state[SPARE]` is the number of spare nodes, `state[LEAST]` the lowest it ever was, `state[TOTAL]` the number of all,
and `state[DRY]` how often there was none.
"""

from __future__ import annotations

from typing import NamedTuple

from structpage.core.buffers import Buffer, Room

FIRST, FRESH, END, SPARE, LEAST, TOTAL, DRY = range(7)
STATE_WORDS = 8


class Nodes(NamedTuple):
    """A pool of nodes of `size` words."""

    store: Buffer
    state: Buffer
    size: int

    @classmethod
    def build(cls, room: Room, size: int, most: int) -> Nodes:
        """Return the nodes that the room has, or `most` of them in a buffer of their own."""
        state = room.buffer("node pool", STATE_WORDS)
        for field in range(STATE_WORDS):
            state[field] = 0
        if room.nodes < 0:
            nodes = cls(room.buffer("nodes", (most + 1) * size), state, size)
            nodes.extend(size, most)
        else:
            nodes = cls(room.memory, state, size)
            nodes.extend(room.nodes_at, room.nodes)
        state[LEAST] = state[SPARE]
        return nodes

    def extend(self, place: int, count: int) -> None:
        """Make a run of nodes the fresh ones; precondition: no other is left."""
        self.state[FRESH] = place
        self.state[END] = place + count * self.size
        self.state[SPARE] += count
        self.state[TOTAL] += count

    def add(self, place: int) -> None:
        """Make the memory at a place a spare node."""
        self.state[TOTAL] += 1
        self.give(place)

    def take(self) -> int:
        """Return a spare node's place, 0 if there is none."""
        state = self.state
        place = state[FIRST]
        if place:
            state[FIRST] = self.store[place]
        elif state[FRESH] < state[END]:
            place = state[FRESH]
            state[FRESH] = place + self.size
        else:
            state[DRY] += 1
            return 0
        state[SPARE] -= 1
        if state[SPARE] < state[LEAST]:
            state[LEAST] = state[SPARE]
        return place

    def give(self, place: int) -> None:
        """Make a node spare again."""
        state = self.state
        self.store[place] = state[FIRST]
        state[FIRST] = place
        state[SPARE] += 1

    def is_place(self, place: int) -> bool:
        """Whether a node can lie there."""
        return 0 < place <= len(self.store) - self.size

    def fresh_bytes(self) -> int:
        """Return the bytes of the nodes that nobody ever had."""
        return 8 * (self.state[END] - self.state[FRESH])
