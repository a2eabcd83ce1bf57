"""What each consumer sees of each placement, and that it sees nothing once its mechanism is off."""

from __future__ import annotations

import pytest
from helpers import PLACEMENTS, says

from structpage import BuddyAllocator
from structpage.consumers import (
    BUILTIN,
    VERDICTS,
    ArchFreePage,
    Consumer,
    Finding,
    FreePageReporting,
    InitOnFree,
    PagePoisoning,
    consumer_class,
    consumer_names,
)
from structpage.errors import CorruptionError, UnknownName

SIDE = [placement for placement in PLACEMENTS if placement != "in-page"]


def churn(consumer, placement, frames=256, max_order=4, rounds=3):
    """Allocate everything, give every other block back, with each order; return the verdict, or what broke."""
    buddy = BuddyAllocator(frames, placement, max_order=max_order, consumers=[consumer])
    now = 0
    try:
        for order in [0, 1, 3, 0] * rounds:
            pfns = []
            while buddy.free_counts[order:].any():
                pfns.append(buddy.alloc(order))
            for pfn in pfns[::2] + pfns[1::2]:
                buddy.free(pfn)
            now += 3_000_000
            consumer.tick(now)
        consumer.finish()
        buddy.check()
    except CorruptionError as error:
        return error
    return consumer.verdict()


@pytest.mark.parametrize("consumer", [PagePoisoning, InitOnFree, ArchFreePage])
@pytest.mark.parametrize("placement", SIDE)
def test_links_beside_the_page_are_no_matter(consumer, placement):
    verdict = churn(consumer(), placement)
    assert verdict.verdict == "ok"
    assert verdict.cost == 0


def test_poisoning_takes_links_for_corruption():
    verdict = churn(PagePoisoning(), "in-page")
    assert verdict.verdict == "false-alarm"
    assert "reports of 'pagealloc: memory corruption', first at PFN " in verdict.detail


@pytest.mark.parametrize("options", [{"check_pages": False}])
def test_poisoning_without_the_check_sees_nothing(options):
    assert churn(PagePoisoning(**options), "in-page").verdict == "ok"


def test_poisoning_finds_a_stray_write():
    consumer = PagePoisoning()
    buddy = BuddyAllocator(8, "side-table", max_order=3, consumers=[consumer])
    buddy.free(buddy.alloc(3))
    buddy.memory.write(5, 100, b"\xab")
    assert buddy.alloc(3) == 0
    assert consumer.findings == [Finding("false-alarm", 5, 100, 0xAA, 0xAB)]
    assert str(consumer.findings[0]) == "PFN 5, byte 100: expected 0xaa, found 0xab"
    assert consumer.single_bit == 1


def test_init_on_free_leaks_links():
    verdict = churn(InitOnFree(), "in-page")
    assert verdict.verdict == "leak"
    assert "bytes of their predecessors, first at PFN " in verdict.detail


def test_init_on_free_without_trust_leaks_nothing():
    assert churn(InitOnFree(trust=False), "in-page").verdict == "ok"


def test_init_on_free_that_zeroes_nothing_leaks_what_owners_wrote():
    consumer = InitOnFree(zero=False)
    buddy = BuddyAllocator(4, "side-table", consumers=[consumer])
    pfn = buddy.alloc()
    buddy.memory.write(pfn, 8, b"secret")
    buddy.free(pfn)
    assert buddy.alloc() == pfn
    assert consumer.leaked_bytes == 6
    assert consumer.verdict().verdict == "leak"


def test_arch_free_page_loses_lists_in_the_page():
    error = churn(ArchFreePage(), "in-page")
    assert isinstance(error, CorruptionError)
    assert error.list is not None


@pytest.mark.parametrize("placement", ["in-page", "side-table"])
def test_arch_free_page_without_discards_loses_nothing(placement):
    consumer = ArchFreePage(discard=False)
    assert churn(consumer, placement).verdict == "ok"
    assert consumer.essa > 0
    assert consumer.discarded == 0


def reporting(placement, **options):
    consumer = FreePageReporting(order=3, low_watermark={}, **options)
    return consumer, churn(consumer, placement, frames=1024, max_order=4)


def test_reporting_costs_in_the_page():
    consumer, verdict = reporting("in-page")
    assert verdict.verdict == "cost"
    assert verdict.cost == consumer.cost > 0
    assert verdict.detail.endswith("frames faulted back by links written into them")


@pytest.mark.parametrize("placement", SIDE)
def test_reporting_costs_nothing_beside_the_page(placement):
    consumer, verdict = reporting(placement)
    assert (verdict.verdict, verdict.cost) == ("ok", 0)
    assert consumer.blocks > 0


def test_reporting_without_discards_costs_nothing():
    consumer, verdict = reporting("in-page", discard=False)
    assert (verdict.verdict, verdict.cost) == ("ok", 0)
    assert consumer.blocks > 0


def test_a_consumer_that_does_nothing_sees_nothing():
    for placement in PLACEMENTS:
        assert churn(Consumer(), placement) == ("ok", 0, "nothing was seen")


def test_findings_are_counted_and_the_first_are_kept():
    consumer = Consumer()
    for offset in range(100):
        consumer.note("leak", 3, 4096 + offset, 0, 1)
    assert consumer.found == 100
    assert len(consumer.findings) == 16
    assert consumer.findings[0] == Finding("leak", 4, 0, 0, 1)


def test_names():
    assert consumer_names() == [*BUILTIN] == ["page-poisoning", "init-on-free", "free-page-reporting", "arch-free-page"]
    assert all(cls.name == name and consumer_class(name) is cls for name, cls in BUILTIN.items())
    assert VERDICTS == ("ok", "cost", "false-alarm", "leak", "lost", "fault")
    known = ", ".join(BUILTIN)
    with pytest.raises(UnknownName, match=says(f"consumer must be one of {known}, a class, or module:Class, not 'x'")):
        consumer_class("x")
