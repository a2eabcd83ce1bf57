"""Rows as text and as HTML; both show the same cells."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def text_table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as aligned text: the first column to the left, the others to the right."""
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    aligned = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join(line.rstrip() for line in aligned)


def html_table(caption: str, header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as an HTML table, everything escaped."""

    def line(cells: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    title = html.escape(caption)
    return f"<table><caption>{title}</caption><thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>"
