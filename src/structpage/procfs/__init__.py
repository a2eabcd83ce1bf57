"""The text files of a kernel about its memory, read into records and printed from them, byte for byte.

For each file a record per zone, or per slab cache, `parse_...` from the text to the records and `format_...` back:

=====================================================  ======================  =================================
file                                                   record                  functions
=====================================================  ======================  =================================
/proc/buddyinfo                                        `BuddyInfo`             `parse_` and `format_buddyinfo`
/proc/pagetypeinfo                                     `PageTypeInfo`          `parse_` and `format_pagetypeinfo`
/proc/zoneinfo                                         `ZoneInfo`, `Pageset`   `parse_` and `format_zoneinfo`
/proc/slabinfo                                         `SlabInfo`              `parse_` and `format_slabinfo`
/sys/kernel/debug/extfrag/extfrag_index                `FragmentationIndex`    `parse_` and `format_extfrag_index`
/sys/kernel/debug/extfrag/unusable_index               `FragmentationIndex`    `parse_` and `format_unusable_index`
=====================================================  ======================  =================================

A text is read only if the kernel's own printing would give it: `format_x(parse_x(text)) == text`, else `TraceError`.
Numbers are ints from 0 to 2^64 - 1, records are tuples in the order of the file.
"""

from structpage.procfs.buddyinfo import (
    BuddyInfo,
    FragmentationIndex,
    format_buddyinfo,
    format_extfrag_index,
    format_unusable_index,
    parse_buddyinfo,
    parse_extfrag_index,
    parse_unusable_index,
)
from structpage.procfs.pagetypeinfo import MOST_COUNTED, PageTypeInfo, format_pagetypeinfo, parse_pagetypeinfo
from structpage.procfs.slabinfo import SlabInfo, format_slabinfo, parse_slabinfo
from structpage.procfs.zoneinfo import Pageset, ZoneInfo, format_zoneinfo, parse_zoneinfo

__all__ = [
    "MOST_COUNTED",
    "BuddyInfo",
    "FragmentationIndex",
    "PageTypeInfo",
    "Pageset",
    "SlabInfo",
    "ZoneInfo",
    "format_buddyinfo",
    "format_extfrag_index",
    "format_pagetypeinfo",
    "format_slabinfo",
    "format_unusable_index",
    "format_zoneinfo",
    "parse_buddyinfo",
    "parse_extfrag_index",
    "parse_pagetypeinfo",
    "parse_slabinfo",
    "parse_unusable_index",
    "parse_zoneinfo",
]
