"""`Machine`: Linux's page allocator as its user sees it.

From the ground up: `state` (buffers, and the sizes of zones), `view` (tables, texts and pictures), `asked` (arguments
and errors), `placed` (memory by its address), `handed` (memory that becomes the machine's), `calls` (the calls
themselves). Beside them `start` and `layout` (a start from /proc files), `booting` (a start from a memory map, and who
took what), `supply` (nodes of a placement from its own memory), `proc` (the texts), `events` and `check`.
"""

from __future__ import annotations

from structpage.machine.calls import Machine

__all__ = ["Machine"]
