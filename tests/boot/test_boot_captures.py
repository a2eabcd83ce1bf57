"""Recorded boots: every allocation of memblock, and every free list that it was handed over to."""

import json
import shutil

import pytest
from helpers import says
from memblock_log import BOOTS, calls, recorded

from structpage import Memblock, TraceError
from structpage.cli import main
from structpage.fidelity import handover_of, memblock_of

KERNEL_61 = [boot for boot in BOOTS if "_61_" in boot.id]


def given_addresses(folder, log):
    """Make the calls of a log from its second dump on; return the memblock, and pairs of addresses, ours and theirs."""
    memblock, waiting, pairs = None, None, []
    for name, told in log:
        if name == "dump":
            memblock = Memblock.from_regions(told["memory"], told["reserved"])
        elif name == "given":
            if waiting is not None:
                pairs.append((waiting(memblock), told[0]))
            else:
                memblock.reserve(*told)
            waiting = None
        elif "alloc" in name:
            waiting = allocation(name, *told)
        else:
            {"memblock_reserve": memblock.reserve, "memblock_phys_free": memblock.free}[name](*told)
    return memblock, pairs


def allocation(name, size, align, start, end, nid):
    if "phys" in name:
        return lambda memblock: memblock.phys_alloc_range(size, align, start, end)
    return lambda memblock: memblock.alloc(size, align, start=start, end=end, nid=nid, exact="exact" in name)


@pytest.mark.parametrize("folder", KERNEL_61)
def test_every_address_that_the_kernel_was_given(folder):
    log = list(calls(folder))
    last = max(at for at, (name, _) in enumerate(log) if name == "dump")
    memblock, pairs = given_addresses(folder, log[last:])
    assert len(pairs) > 40
    assert [ours for ours, _ in pairs] == [theirs for _, theirs in pairs]
    assert [list(memblock.memory), list(memblock.reserved)] == recorded(folder)


@pytest.mark.parametrize("folder", BOOTS)
@pytest.mark.parametrize("placement", ["side-table", "one-word"])
def test_every_list_of_the_kernel_in_its_order(folder, placement):
    result = handover_of(folder, placement=placement)
    assert result.lists >= 13
    assert (result.exact, result.final_lists_identical) == (result.lists, True)
    assert result.late is not None
    assert result.late[0] == result.late[1] >= 13


@pytest.mark.parametrize("folder", BOOTS)
def test_the_command_prints_it(folder, capsys):
    assert main(["replay", str(folder)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["capture"] == folder.name
    assert folder.name[5:7] == "".join(figures["kernel"].split(".")[:2])
    assert figures["lists"] == figures["exact"]
    assert figures["final_lists_identical"] is True


# One of our own: frames 1 to 32 of a zone DMA, 9 to 15 reserved, and a byte of frame 20.

MEMBLOCK = {
    "bottom_up": 0,
    "current_limit": 1 << 20,
    "memory": {"regions": [{"base": 4096, "size": 32 * 4096, "flags": 0, "nid": 0}]},
    "reserved": {
        "regions": [
            {"base": 9 * 4096, "size": 7 * 4096, "flags": 0, "nid": 1024},
            {"base": 20 * 4096 + 100, "size": 1, "flags": 0, "nid": 1024},
        ]
    },
}
FREE = {0: [1, 8, 21, 32], 1: [2, 22], 2: [4, 16], 3: [24]}


def area(order, pfns):
    return {"order": order, "nr_free": len(pfns), "lists": {"Unmovable": pfns}}


def freelists(free=FREE):
    zone = {"name": "DMA", "start_pfn": 1, "spanned": 32, "present": 32, "pcp": []}
    zone["free_area"] = [area(order, free.get(order, [])) for order in range(11)]
    return {"nodes": [{"node": 0, "zones": [zone]}]}


@pytest.fixture
def boot(tmp_path):
    folder = tmp_path / "boot"
    folder.mkdir()
    (folder / "memblock.json").write_text(json.dumps(MEMBLOCK))
    (folder / "freelists.json").write_text(json.dumps(freelists()))
    return folder


def test_a_small_boot(boot):
    figures = {"capture": "boot", "kernel": "", "lists": 4, "exact": 4, "final_lists_identical": True}
    assert handover_of(boot).as_dict() == figures
    (boot / "meta.json").write_text(json.dumps({"kernel": "Debian 6.1.0-56 6.1.192-2"}))
    assert handover_of(boot).as_dict() == figures | {"kernel": "6.1.192"}
    assert str(handover_of(boot)) == "boot, Linux 6.1.192: 4 of 4 lists exact, all lists identical"


@pytest.mark.parametrize(
    ("change", "lists", "exact"),
    [
        ({0: [8, 1, 21, 32]}, 4, 3),
        ({0: [1, 8, 21]}, 4, 3),
        ({3: []}, 3, 3),
        ({2: [4], 1: [2, 22, 16]}, 4, 2),
        ({5: [64]}, 5, 4),
    ],
)
def test_what_differs_is_seen(boot, change, lists, exact):
    (boot / "freelists.json").write_text(json.dumps(freelists(FREE | change)))
    result = handover_of(boot)
    assert (result.lists, result.exact, result.final_lists_identical) == (lists, exact, False)


@pytest.mark.parametrize(
    ("change", "late"),
    [
        ({}, (4, 4)),
        ({3: [], 2: [4, 16, 28], 1: [2, 22, 26], 0: [1, 8, 21, 32, 24]}, (3, 3)),  # frame 25 was allocated
        ({0: [32, 21, 8, 1]}, (4, 3)),
        ({1: [2], 0: [1, 8, 21, 32, 22, 23]}, (4, 2)),  # two halves that nobody has, not merged
    ],
)
def test_late_lists_are_compared_where_nothing_was_allocated(boot, change, late):
    (boot / "freelists_late.json").write_text(json.dumps(freelists(FREE | change)))
    result = handover_of(boot)
    assert result.late == late
    assert result.as_dict()["late"] == {"lists": late[0], "exact": late[1]}
    assert str(result).endswith(f"of blocks left alone: {late[1]} of {late[0]}")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("memblock.json", "[", "file boot/memblock.json must be JSON, not damaged"),
        ("memblock.json", "{}", "file boot/memblock.json must be the arrays memory and reserved, bottom_up and"),
        (
            "memblock.json",
            json.dumps(MEMBLOCK | {"memory": {"regions": [{"base": 0, "size": 0, "nid": 0, "flags": 0}]}}),
            "file boot/memblock.json must be the arrays .*, not InvalidArgument region of memory must be not empty",
        ),
        ("freelists.json", "{}", "file boot/freelists.json must be free lists: nodes > zones"),
    ],
)
def test_folders_that_are_damaged(boot, name, text, message):
    (boot / name).write_text(text)
    with pytest.raises(TraceError, match=message):
        handover_of(boot)


def test_a_folder_without_lists(boot, capsys):
    (boot / "freelists.json").unlink()
    with pytest.raises(
        TraceError, match=says("capture boot must be a folder with freelists.json, not one that has memblock.json")
    ):
        handover_of(boot)
    assert main(["replay", str(boot)]) == 2
    assert "freelists.json" in capsys.readouterr().err


def test_a_memblock_read_is_one_to_go_on_with(boot):
    memblock = memblock_of(boot)
    assert memblock.alloc(4096) == 32 * 4096
    shutil.rmtree(boot)
    with pytest.raises(TraceError):
        memblock_of(boot)
