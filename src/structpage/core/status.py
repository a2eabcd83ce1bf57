"""Results of the core that are no PFN: negative numbers, named."""

from __future__ import annotations

NO_MEMORY = -1
"""No block on the lists would do; nothing was changed."""
REFUSED = -2
"""The frames are not in the state that the call needs; nothing was changed."""
CORRUPT = -3
"""A list or a word is broken; what was reached before is changed."""
BUSY = -4
"""Frames of a range are in use, or may not be isolated; all is as before, but for the order of blocks on the lists."""
