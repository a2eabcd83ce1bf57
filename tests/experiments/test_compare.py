"""`compare`: the rows of a table, each measured in runs of its own."""

import hashlib
import json

import numpy as np
import pytest
from helpers import IN_ORDER, PLACEMENTS

import structpage as sp
from structpage.core.placements.side_table import SideTable
from structpage.errors import InvalidArgument, UnknownName
from structpage.experiments.compare import ROW, compare
from structpage.experiments.workload import Workload
from structpage.request import requests


@pytest.fixture(scope="module")
def comparison():
    return compare(requests=3_000)


def rows_of(comparison):
    return {row["placement"]: row for row in comparison.as_dict()["rows"]}


def test_a_row_per_placement_with_every_column(comparison):
    rows = comparison.as_dict()["rows"]
    assert [row["placement"] for row in rows] == PLACEMENTS
    for row in rows:
        assert set(row) == {*ROW.names, "verdicts"}
        assert set(row["verdicts"]) == {"page-poisoning", "init-on-free", "free-page-reporting", "arch-free-page"}
        for verdict in row["verdicts"].values():
            assert set(verdict) == {"verdict", "cost", "detail"}


def test_it_is_json(comparison):
    assert json.loads(json.dumps(comparison.as_dict())) == comparison.as_dict()


def test_placements_that_keep_the_order_of_lists_handed_out_the_same_frames(comparison):
    rows = rows_of(comparison)
    assert len({rows[name]["pfn_digest"] for name in IN_ORDER}) == 1
    assert rows["bitmap"]["pfn_digest"] not in (rows["side-table"]["pfn_digest"], rows["array-index"]["pfn_digest"])
    assert rows["array-index"]["pfn_digest"] == rows["radix-tree"]["pfn_digest"]


def test_what_is_declared_stands_beside_what_was_found(comparison):
    rows = rows_of(comparison)
    orders = {name: row["list_order"] for name, row in rows.items()}
    assert orders == dict.fromkeys(IN_ORDER, "kept") | {
        "bitmap": "by address", "array-index": "none", "radix-tree": "none"
    }  # fmt: skip
    assert {name for name, row in rows.items() if not row["frees_without_allocating"]} == {"slab-nodes", "radix-tree"}


def test_steps_of_removals_are_those_of_the_run():
    work = Workload.load("mixed", limit=10_000)
    rows = rows_of(compare(work, placements=["singly-linked", "side-table"], consumers=[]))
    buddy = work.allocator("singly-linked")
    before = buddy.lists.steps_walked()
    buddy.replay(work.requests)
    assert rows["singly-linked"]["steps_per_op"] == (buddy.lists.steps_walked() - before) / 10_000 > 0
    assert rows["side-table"]["steps_per_op"] == 0


def test_the_digest_is_of_the_pfns_as_little_endian_words(comparison):
    work = Workload.load("mixed", limit=3_000)
    pfns = work.allocator("side-table").replay(work.requests).pfns
    expected = hashlib.sha256(b"".join(int(pfn).to_bytes(8, "little") for pfn in pfns)).hexdigest()
    assert rows_of(comparison)["side-table"]["pfn_digest"] == expected


def test_metadata_is_what_the_buffers_take(comparison):
    rows, work = rows_of(comparison), Workload.load("mixed", limit=10)
    for name, row in rows.items():
        buddy = work.allocator(name)
        if name in ("slab-nodes", "radix-tree"):
            assert 16 * work.frames < row["boot_bytes"] < sum(words.nbytes for words in buddy.buffers.values())
            continue
        assert row["boot_bytes"] == sum(words.nbytes for words in buddy.buffers.values())
        assert row["metadata_bytes_per_frame"] == row["boot_bytes"] / work.frames
    assert rows["one-word"]["metadata_bytes_per_frame"] == pytest.approx(8, abs=0.1)
    assert rows["in-words"]["metadata_bytes_per_frame"] == pytest.approx(16, abs=0.1)
    assert rows["in-page"]["metadata_bytes_per_frame"] == pytest.approx(16, abs=0.1)
    assert rows["side-table"]["metadata_bytes_per_frame"] == pytest.approx(32, abs=0.1)


def test_only_in_page_touches_free_pages(comparison):
    touched = {name: row["free_page_bytes_per_op"] for name, row in rows_of(comparison).items()}
    assert touched.pop("in-page") > 0
    assert set(touched.values()) == {0}


def test_verdicts_are_those_that_the_thread_feared(comparison):
    in_page = {who: verdict.verdict for who, verdict in comparison.verdicts["in-page"].items()}
    assert in_page["page-poisoning"] == "false-alarm"
    assert in_page["init-on-free"] == "leak"
    assert in_page["free-page-reporting"] == "cost"
    assert comparison.verdicts["in-page"]["free-page-reporting"].cost > 0
    for name in set(PLACEMENTS) - {"in-page"}:
        assert {verdict.verdict for verdict in comparison.verdicts[name].values()} == {"ok"}


def test_text_and_html_show_the_same_cells(comparison):
    text, page = repr(comparison), comparison._repr_html_()
    for cell in (*PLACEMENTS, "false-alarm", "lines/op"):
        assert cell in text
        assert f"{cell}</t" in page
    for line in (
        f"{', '.join(IN_ORDER)}\n",
        ": bitmap\n",
        ": array-index, radix-tree\n",
        "Rows are of the same frames, and comparable in all, where the list order is kept.",
    ):
        assert line in text
        assert line.strip() in page


def test_rows_of_the_same_frames_are_said_to_be():
    result = compare(requests=500, placements=["in-words", "one-word"], consumers=[])
    assert f"All handed out the same PFNs: SHA-256 {result.rows['pfn_digest'][0][:16]}..." in repr(result)


def test_a_placement_of_ones_own_is_one_row_more():
    class Backwards(SideTable):
        def push_back(self, lst, pfn):
            self.push_front(lst, pfn)

    result = compare(requests=2_000, placements=["side-table", Backwards], consumers=[])
    found = rows_of(result)
    assert "PFNs must be the same, and are not: one of these placements is wrong." in repr(result)
    assert set(found) == {"side-table", "Backwards"}
    assert found["Backwards"]["pfn_digest"] != found["side-table"]["pfn_digest"]


def test_a_bare_trace_starts_with_all_memory_free(tmp_path):
    trace = tmp_path / "trace"
    line = "  bash-1 [000] .....  1.00000{}: {}: page=0000000000000000 pfn={:#x} order=0{}\n"
    alloc = " migratetype=0 gfp_flags=GFP_KERNEL"
    trace.write_text(
        line.format(0, "mm_page_alloc", 5, alloc)
        + line.format(1, "mm_page_free", 9, "")
        + line.format(2, "mm_page_free", 5, "")
    )
    comparison = compare(trace, placements=["side-table"], consumers=[])
    assert comparison.workload["foreign"] == 1
    assert (comparison.workload["allocations"], comparison.workload["frees"]) == (1, 1)
    assert comparison.workload["frames"] == 1024
    sized = compare(trace, placements=["side-table"], consumers=[], memory="64M")
    assert sized.workload["frames"] == 16384


def test_replay_and_single_calls_hand_out_the_same_frames():
    work = Workload.load("mixed", limit=4_000)
    replayed = work.allocator("in-words").replay(work.requests)
    buddy, where, pfns = work.allocator("in-words"), {}, []
    for kind, order, slot, offset, mt, zone in zip(*(c.tolist() for c in work.requests.columns()), strict=True):
        if kind == 0:
            where[slot] = buddy.alloc_from(zone, order, mt)
            pfns.append(where[slot])
        elif kind == 1:
            buddy.free(where[slot] + offset, order)
        else:
            buddy.release(offset, 1 << order)
    assert pfns == replayed.pfns.tolist()


def test_steps_are_told_before_each_part():
    from structpage.experiments.compare import steps

    told = []
    compare(requests=100, placements=["in-words"], consumers=["init-on-free"], step=told.append)
    assert told == ["reading the workload", "in-words: time", "in-words: touches", "in-words: init-on-free"]
    assert len(told) == steps(1, 1)


def test_jobs_change_nothing_but_the_times():
    chosen = {"requests": 1_500, "placements": ["in-page", "one-word"]}
    here, apart = compare(**chosen), compare(**chosen, jobs=2)
    for column in set(ROW.names) - {"ns_per_op"}:
        assert here.rows[column].tolist() == apart.rows[column].tolist()
    assert here.verdicts == apart.verdicts


def test_a_local_class_cannot_be_sent_to_another_process():
    class Mine(SideTable):
        pass

    message = "class Mine must be importable to run with jobs above 1, not a local one"
    with pytest.raises(InvalidArgument, match=f"^{message}$"):
        compare(requests=10, placements=[Mine], jobs=2)
    with pytest.raises(InvalidArgument, match=r"^jobs must be at least 1, not 0$"):
        compare(requests=10, jobs=0)


def test_unknown_names_say_which_exist():
    rule = f"placement must be one of {', '.join(PLACEMENTS)}, a class, or module:Class, not 'tree'"
    with pytest.raises(UnknownName, match=f"^{rule}$"):
        compare(requests=10, placements=["tree"])
    with pytest.raises(UnknownName, match=r"^consumer must be one of page-poisoning, .*, not 'nobody'$"):
        compare(requests=10, placements=["in-page"], consumers=["nobody"])


def test_a_capture_has_its_own_memory():
    with pytest.raises(InvalidArgument, match=r"^memory must be left to the capture, which has its own, not 4G$"):
        compare(requests=10, memory="4G")


def test_rows_are_a_structured_array(comparison):
    assert isinstance(comparison.rows, np.ndarray)
    assert comparison.rows["ns_per_op"].min() > 0


def test_requests_of_ones_own_can_be_compared():
    frames = 64
    work = sp.Workload(
        "mine", frames, (sp.Zone("Normal", 0, frames),), (), (),
        requests([0, 0, 1], [0, 1, 0], [0, 1, 0]), np.zeros(3, np.int64), {},
        dict.fromkeys(("foreign", "failed", "reallocated", "misaligned", "bad_lines", "lost_events"), 0),
    )  # fmt: skip
    assert compare(work, placements=["side-table"]).workload["requests"] == 3
