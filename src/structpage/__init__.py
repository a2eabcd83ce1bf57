"""Where does the state of a free page go? A two-word `struct page`, and every answer, run."""

__version__ = "0.1.0"

from structpage.allocator import BuddyAllocator
from structpage.frames import FrameMemory
from structpage.pages import Page, PageArray
from structpage.zones import Zone
