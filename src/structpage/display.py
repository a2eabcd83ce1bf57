"""Pictures of things: a comparison as text and HTML, a small allocator's state as text."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from structpage.core.words import LANE_SHIFT, TYPE_NAMES, TYPES
from structpage.tables import html_table, text_table
from structpage.zones import zone_name

if TYPE_CHECKING:
    from structpage.consumers import Verdict
    from structpage.experiments.compare import Comparison
    from structpage.state import AllocatorState

COLUMNS = (
    ("placement", "placement", "{}"),
    ("list_order", "list order", "{}"),
    ("frees_without_allocating", "frees w/o alloc", "{}"),
    ("metadata_bytes_per_frame", "B/frame", "{:.2f}"),
    ("boot_bytes", "boot bytes", "{:,}"),
    ("reads_per_op", "reads/op", "{:.2f}"),
    ("writes_per_op", "writes/op", "{:.2f}"),
    ("lines_per_op", "lines/op", "{:.2f}"),
    ("steps_per_op", "steps/op", "{:.2f}"),
    ("free_page_bytes_per_op", "free-page B/op", "{:.2f}"),
    ("ns_per_op", "ns/op", "{:.0f}"),
)
"""Column of a comparison, its title, its format."""

MAX_EXPLAINED = 256
"""Frames up to which `explain` draws a memory; more would be no picture."""


def comparison_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a comparison: figures, then a verdict per consumer."""
    consumers = list(next(iter(comparison.verdicts.values()), {}))
    header = [title for _, title, _ in COLUMNS] + consumers
    rows = []
    for row in comparison.rows:
        verdicts = comparison.verdicts[str(row["placement"])]
        cells = [form.format(_plain(row[column].item())) for column, _, form in COLUMNS]
        rows.append(cells + [_verdict(verdicts[consumer]) for consumer in consumers])
    return header, rows


def _plain(value: object) -> object:
    return value if not isinstance(value, bool) else "yes" if value else "no"


def _verdict(verdict: Verdict) -> str:
    return f"{verdict.verdict} {verdict.cost}" if verdict.cost else verdict.verdict


def comparison_text(comparison: Comparison) -> str:
    """Return a comparison as text: the workload, the table, what the digests say, and why each verdict."""
    work = comparison.workload
    skipped = ", ".join(f"{work[key]} {key}" for key in ("foreign", "failed", "reallocated", "misaligned") if work[key])
    title = (
        f"{work['name']}: {work['requests']} requests, {work['allocations']} allocations, {work['frees']} frees, "
        f"{work['releases']} releases, in {work['frames']} frames ({', '.join(work['zones'])})"
    )
    lines = [title] + ([f"skipped: {skipped}"] if skipped else [])
    if work["bad_lines"] or work["lost_events"]:
        lines.append(f"the trace has {work['bad_lines']} bad lines and lost {work['lost_events']} events")
    lines += ["", text_table(*comparison_rows(comparison)), ""]
    lines += _same_frames(comparison)
    for name, verdicts in comparison.verdicts.items():
        lines += [f"{name}, {who}: {v.verdict}. {v.detail}" for who, v in verdicts.items() if v.verdict != "ok"]
    return "\n".join(lines)


def _same_frames(comparison: Comparison) -> list[str]:
    # Who handed out the same frames as whom, and of whom that was to be expected.
    digests: dict[str, list[str]] = {}
    for row in comparison.rows:
        digests.setdefault(str(row["pfn_digest"]), []).append(str(row["placement"]))
    if len(digests) == 1:
        return [f"All handed out the same PFNs: SHA-256 {next(iter(digests))[:16]}..."]
    lines = [f"PFNs of SHA-256 {digest[:16]}...: {', '.join(names)}" for digest, names in digests.items()]
    kept = comparison.rows["list_order"] == "kept"
    if len(set(comparison.rows["pfn_digest"][kept].tolist())) > 1:
        lines.append(
            "Where the list order is kept, PFNs must be the same, and are not: one of these placements is wrong."
        )
    if not kept.all():
        lines.append("Rows are of the same frames, and comparable in all, where the list order is kept.")
    return lines


def comparison_html(comparison: Comparison) -> str:
    """Return a comparison as an HTML table with the details of verdicts below."""
    header, rows = comparison_rows(comparison)
    work = comparison.workload
    caption = f"{work['name']}: {work['requests']} requests in {work['frames']} frames"
    details = [f"<li>{html.escape(line)}</li>" for line in _same_frames(comparison)] + [
        f"<li>{html.escape(f'{name}, {who}: {v.verdict}. {v.detail}')}</li>"
        for name, verdicts in comparison.verdicts.items()
        for who, v in verdicts.items()
        if v.verdict != "ok"
    ]
    return html_table(caption, header, rows) + f"<ul>{''.join(details)}</ul>"


def explain(buddy: AllocatorState) -> str:
    """Return a picture of an allocator's state: each block with its words, and each list with its links.

    For lessons: a memory of more than `MAX_EXPLAINED` frames is told by its lists alone.
    """
    lines = [repr(buddy)]
    if buddy.pages.frames <= MAX_EXPLAINED:
        lines += ["", *_blocks(buddy)]
    return "\n".join([*lines, "", *_lists(buddy)])


def _blocks(buddy: AllocatorState) -> list[str]:
    names = ("allocator", "allocatee")[: buddy.pages.layout.words]
    deferred = {start: end for zone in buddy.zones for start, end in buddy.deferred_ranges(zone)}
    rows, pfn = [], 0
    while pfn < buddy.pages.frames:
        page = buddy.pages[pfn]
        size = 1 << page.order if page.order is not None and page.head == pfn else 1
        state = page.state if page.order is None else f"{page.state}, order {page.order}"
        if pfn in deferred:
            size, state = deferred[pfn] - pfn, "deferred"
        frames = f"{pfn}" if size == 1 else f"{pfn}-{pfn + size - 1}"
        content = [f"{buddy.memory.read_word(pfn, at):#018x}" for at in (0, 8)] if buddy.memory else []
        rows.append([frames, state, *(f"{word:#018x}" for word in page.words), *content])
        pfn += size
    header = ["frames", "state", *names, *(("memory[0]", "memory[8]") if buddy.memory else ())]
    return text_table(header, rows).splitlines()


def _lists(buddy: AllocatorState) -> list[str]:
    lines = []
    for zone in buddy.zones:
        for order in range(buddy.core.orders):
            for mt in range(TYPES):
                pfns = buddy.free_list(order, zone=zone.name, node=zone.node, migratetype=mt)
                if pfns:
                    shown = " <-> ".join(map(str, pfns[:12])) + (" <-> ..." if len(pfns) > 12 else "")
                    where = f"{zone_name(zone.number)} order {order} {TYPE_NAMES[mt]}"
                    lst = (zone.number << LANE_SHIFT | mt) * buddy.core.orders + order
                    lines.append(f"{where} (list {lst}): head <-> {shown} <-> head")
    return lines or ["every list is empty"]
