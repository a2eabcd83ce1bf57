"""Every verdict is observed: it appears with the mechanism behind it, and goes away without it."""

import pytest

from structpage.consumers import ArchFreePage, Consumer, FreePageReporting, InitOnFree, PagePoisoning
from structpage.core.placements.in_page import InPage
from structpage.experiments.verdict import observe
from structpage.experiments.workload import Workload


@pytest.fixture(scope="module")
def work():
    return Workload.load("mixed", limit=12_000)


@pytest.mark.parametrize(
    ("verdict", "broken", "mended"),
    [
        ("false-alarm", PagePoisoning, lambda: PagePoisoning(check_pages=False)),
        ("leak", InitOnFree, lambda: InitOnFree(trust=False)),
        ("cost", FreePageReporting, lambda: FreePageReporting(discard=False)),
        ("lost", ArchFreePage, lambda: ArchFreePage(discard=False)),
    ],
)
def test_a_verdict_flips_with_the_mechanism(work, verdict, broken, mended):
    assert observe(work, "in-page", broken()).verdict == verdict
    assert observe(work, "in-page", mended()).verdict == "ok"


@pytest.mark.parametrize("consumer", [PagePoisoning, InitOnFree, FreePageReporting, ArchFreePage])
@pytest.mark.parametrize("placement", ["side-table", "in-words", "one-word"])
def test_links_outside_the_page_survive(work, placement, consumer):
    assert observe(work, placement, consumer()).verdict == "ok"


def test_owners_write_so_zeroing_matters(work):
    """Without zeroing, owners see their predecessors' data: the check would see a leak anywhere."""
    verdict = observe(work, "side-table", InitOnFree(zero=False))
    assert verdict.verdict == "leak"


def test_poison_is_checked_against_real_writes(work):
    """Without the pattern at free time, what owners wrote is reported: the check reads the pages."""
    assert observe(work, "side-table", PagePoisoning(poison=False)).verdict != "ok"


def test_links_restored_at_removal_satisfy_poisoning(work):
    """A placement that wipes its links when it takes a block off passes: the link bytes were the reason."""

    class Wiped(InPage):
        def remove(self, pfn):
            after = self.memory[pfn << 9]
            before = self.memory[(pfn << 9) + 1]
            self.set_link(before, 0, after)
            self.set_link(after, 1, before)
            self.memory[pfn << 9] = 0
            self.memory[(pfn << 9) + 1] = 0
            return 0

    assert observe(work, "in-page", InitOnFree()).verdict == "leak"
    assert observe(work, Wiped, InitOnFree()).verdict == "ok"


def test_the_detail_of_a_lost_list_names_the_place(work):
    verdict = observe(work, "in-page", ArchFreePage())
    assert verdict.detail.startswith(("a list was destroyed, seen at request ", "frames were handed out twice, seen"))
    assert "PFN" in verdict.detail


def test_reporting_was_exercised(work):
    consumer = FreePageReporting()
    observe(work, "side-table", consumer)
    assert consumer.cycles >= 1
    assert consumer.blocks > 0


def test_a_consumer_of_ones_own():
    class Counting(Consumer):
        name = "counting"
        seen = 0

        def after_alloc(self, pfn, order):
            self.seen += 1 << order

    consumer = Counting()
    work = Workload.load("mixed", limit=500)
    assert observe(work, "in-words", consumer).verdict == "ok"
    allocated = work.requests.order[work.requests.kind == 0]
    assert consumer.seen == sum(1 << order for order in allocated.tolist())
