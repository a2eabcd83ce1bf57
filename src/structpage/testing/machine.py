"""A Hypothesis state machine that drives a placement, or several side by side, against the model.

::

    TestMine = structpage.testing.buddy_machine(MyPlacement).TestCase
    TestAlike = structpage.testing.buddy_machine(["side-table", MyPlacement]).TestCase

After every step the allocator's own `check()` finds nothing, and its free blocks are exactly the model's. A
refusal is of the right type and changes no word, except that one for lack of memory hands over what was deferred.
Several placements must answer every call alike, PFN for PFN: lists hand out the same frames in the same order
wherever the links lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import SearchStrategy

from structpage import placing
from structpage.allocator import BuddyAllocator
from structpage.errors import (
    CorruptionError,
    InvalidArgument,
    InvalidFree,
    OutOfMemory,
    OutOfRange,
    StructPageError,
    must,
)
from structpage.testing.model import Model, demand
from structpage.testing.strategies import Operation, Shape, operations, shapes

Outcome = int | None | type[StructPageError]
PICK = st.integers(0, 999)
RANGE_CALLS = ("alloc_range", "free_range", "reserve", "release")


def buddy_machine(
    placement: str | type | Sequence[str | type] = "side-table",
    *,
    shape: SearchStrategy[Shape] | None = None,
    **options: Any,
) -> type[RuleBasedStateMachine]:
    """Return a state machine class for a placement, or for several that must hand out the same frames.

    `shape` draws the machines, by default `shapes()`; `options` go to each `BuddyAllocator`, where an engine
    is given by name. Raises `InvalidArgument` for several placements of which one does not keep the order of
    its lists.
    """
    chosen = [placement] if isinstance(placement, str | type) else list(placement)
    classes = [placing.placement_class(choice) for choice in chosen]
    for cls in classes:
        if len(classes) > 1 and not placing.declared(cls).keeps_order:
            rule = "one that keeps the order of its lists, to run beside others"
            raise InvalidArgument(must(f"placement {cls.__name__}", rule, "one that does not"))

    class BuddyMachine(_Machine):
        drawn = shapes() if shape is None else shape

        def build(self, shape: Shape) -> list[BuddyAllocator]:
            frames, zones, top = shape
            return [BuddyAllocator(frames, cls, zones=zones, max_order=top, **options) for cls in classes]

        @initialize(shape=drawn)
        def begin(self, shape: Shape) -> None:
            self.buddies = self.build(shape)
            told = {name: options[name] for name in ("start", "section_order") if name in options}
            self.model = Model(*shape[:2], max_order=shape.max_order, **told)

    return BuddyMachine


class _Machine(RuleBasedStateMachine):
    buddies: list[BuddyAllocator]
    model: Model

    def each(self, act: Callable[[BuddyAllocator], int | None]) -> Outcome:
        outcomes = [_attempt(buddy, act) for buddy in self.buddies]
        names = ", ".join(buddy.placement for buddy in self.buddies)
        demand(len(set(outcomes)) == 1, f"answers of {names}", "alike", outcomes)
        return outcomes[0]

    def must_answer(self, expected: Outcome, act: Callable[[BuddyAllocator], int | None]) -> None:
        got = self.each(act)
        demand(got is expected, "answer", expected, got)

    def call(self, method: str, **arguments: Any) -> Outcome:
        return self.each(lambda buddy: getattr(buddy, method)(**arguments))

    # Any call, right or wrong, on any frames

    @rule(operation=operations())
    def any_call(self, operation: Operation) -> None:
        self.act(*operation)

    @rule(method=st.sampled_from(RANGE_CALLS), pick=PICK, count=st.integers(1, 6))
    def range_call(self, method: str, pick: int, count: int) -> None:
        """Begin where it may succeed; whether it does depends on what follows."""
        model = self.model
        starts = {"free_range": {*model.blocks}, "release": model.reserved_set() | model.deferred_set()}
        frames = sorted(starts.get(method, model.free_set))
        if frames:
            self.act(method, {"start": frames[pick % len(frames)], "count": count})

    def act(self, method: str, arguments: dict[str, Any]) -> None:
        expected = self.right_answers(method, arguments)
        got = self.call(method, **arguments)
        demand(got in expected, f"{method}({arguments})", f"one of {expected}", got)
        if isinstance(got, type):
            return
        if method in ("alloc", "alloc_at", "alloc_within"):
            self.model.alloc(cast(int, got), arguments["order"])
        elif method == "alloc_contig":
            self.model.alloc_range(cast(int, got), cast(int, got) + arguments["count"])
        elif method == "free":
            self.model.free(**arguments)
        else:
            getattr(self.model, method)(arguments["start"], arguments["start"] + arguments["count"])

    def right_answers(self, method: str, arguments: dict[str, Any]) -> set[Outcome]:
        model = self.model
        order = arguments.get("order")
        if order is not None and not 0 <= order <= model.max_order:
            return {InvalidArgument, OutOfRange}
        start = arguments.get("start", arguments.get("pfn", 0))
        count = arguments.get("count", arguments.get("end", start + 1) - start)
        if method in ("free", "alloc_at"):
            count = 1 << (order or 0) if method == "alloc_at" else 1
        if count < 1 or (method == "alloc_at" and start % count):
            return {InvalidArgument, OutOfRange}
        if start < 0 or (method != "alloc_contig" and start + count > model.frames):
            return {OutOfRange}
        end = start + count
        right: set[Outcome]
        if method == "alloc":
            right = {*model.where_alloc(arguments["order"], align_order=arguments["align_order"])}
        elif method == "alloc_within":
            right = {*model.where_within(start, end, arguments["order"])}
        elif method == "alloc_contig":
            right = {*model.where_contig(count)}
        elif method in ("alloc_at", "alloc_range"):
            right = {start} if model.is_free(start, end) else set()
        elif method == "reserve":
            right = {None} if model.is_free(start, end) else set()
        elif method == "release":
            right = {None} if model.is_reserved(start, end) else set()
        elif method == "free_range":
            right = {None} if model.blocks_in(start, end) else set()
        else:
            held = model.blocks.get(start)
            right = {None} if held is not None and order in (None, held) else set()
        return right or {InvalidFree if "free" in method or method == "release" else OutOfMemory}

    # Calls that need to hit

    @rule(order=st.integers(0, 3), pick=PICK)
    def alloc_from(self, order: int, pick: int) -> None:
        """Allocate from a zone that is named, if need be at the expense of others."""
        zone = self.model.zones[pick % len(self.model.zones)]
        order = min(order, self.model.max_order)
        got = self.each(lambda buddy: buddy.alloc(order, zone=zone.name, node=zone.node))
        right: set[Outcome] = {*self.model.where_alloc(order, zone)} or {OutOfMemory}
        demand(got in right, f"block of order {order} for zone {zone.name}", f"one of {right}", got)
        if isinstance(got, int):
            self.model.alloc(got, order)

    @precondition(lambda self: self.model.blocks)
    @rule(pick=PICK)
    def free_one(self, pick: int) -> None:
        pfn = sorted(self.model.blocks)[pick % len(self.model.blocks)]
        self.must_answer(None, lambda buddy: buddy.free(pfn))
        self.model.free(pfn)
        self.must_answer(InvalidFree, lambda buddy: buddy.free(pfn))

    @precondition(lambda self: self.model.blocks)
    @rule(pick=PICK, off=st.sampled_from((-1, 1)))
    def free_wrongly(self, pick: int, off: int) -> None:
        """Free with another order, then a tail: refused."""
        pfn, order = sorted(self.model.blocks.items())[pick % len(self.model.blocks)]
        if 0 <= order + off <= self.model.max_order:
            self.must_answer(InvalidFree, lambda buddy: buddy.free(pfn, order + off))
        if order:
            tail = pfn + 1 + pick % ((1 << order) - 1)
            self.must_answer(InvalidFree, lambda buddy: buddy.free(tail))

    # What holds after every step

    @invariant()
    def agrees_with_model(self) -> None:
        expected = self.model.free_blocks()
        for buddy in self.buddies:
            buddy.check()
            heads, orders = buddy.pages.free_heads()
            found = set(zip(heads.tolist(), orders.tolist(), strict=True))
            demand(found == expected, f"free blocks of {buddy.placement}", sorted(expected), sorted(found))
            frames = len(self.model.free_set), len(self.model.deferred_set())
            counted = buddy.free_frames, buddy.deferred_frames
            demand(counted == frames, "free and deferred frames", frames, counted)


def _attempt(buddy: BuddyAllocator, act: Callable[[BuddyAllocator], int | None]) -> Outcome:
    before, deferred = _words(buddy), buddy.deferred_frames
    try:
        return act(buddy)
    except CorruptionError:
        raise
    except StructPageError as error:
        same = _words(buddy) == before or (isinstance(error, OutOfMemory) and buddy.deferred_frames < deferred)
        demand(same, f"refusal ({error})", "without any change", "one that changed words")
        return type(error)


def _words(buddy: BuddyAllocator) -> list[bytes]:
    return [words.tobytes() for words in buddy.buffers.values()]
