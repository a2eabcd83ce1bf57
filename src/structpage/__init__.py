"""structpage: where does the state of a free page go? A two-word `struct page`, and every answer run.

Public names are imported when they are first used, so that the import costs little.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NAMES = {
    # Memory
    "PageArray": "pages",
    "Page": "pages",
    "Owner": "owners",
    "FrameMemory": "frames",
    "Zone": "zones",
    # Allocators
    "BuddyAllocator": "allocator",
    "Machine": "machine",
    "Tuning": "sizing",
    "Memblock": "boot",
    "Region": "boot",
    "placement_names": "placing",
    "Placement": "core.buffers",
    "Declaration": "core.buffers",
    "Room": "core.buffers",
    "CORRUPT": "core.status",
    # Slabs
    "SlabCache": "slab",
    "Kmalloc": "slab",
    "SlabFlags": "slab",
    "Geometry": "slab",
    "geometry": "slab",
    "Who": "slab",
    "Found": "slab",
    "find": "slab",
    "slab_table": "slab",
    "slabinfo": "slab",
    # Requests
    "Requests": "request",
    "Replay": "replay",
    "requests": "request",
    "replay_stream": "streaming",
    # Engines
    "PlainEngine": "engines",
    "CompiledEngine": "engines",
    "ProbedEngine": "engines",
    "CheckedEngine": "engines",
    # Consumers
    "Consumer": "consumers",
    "Verdict": "consumers",
    "Finding": "consumers",
    "consumer_names": "consumers",
    "PagePoisoning": "consumers",
    "InitOnFree": "consumers",
    "FreePageReporting": "consumers",
    "ArchFreePage": "consumers",
    # Experiments
    "compare": "experiments.compare",
    "Comparison": "experiments.compare",
    "cache_misses": "experiments.cache_misses",
    "CacheMisses": "experiments.cache_misses",
    "CacheLevel": "experiments.caches",
    "Workload": "experiments.workload",
    "observe": "experiments.verdict",
    "boot_costs": "experiments.bootstrap",
    "BootCosts": "experiments.bootstrap",
    "fill_and_empty": "experiments.bootstrap",
    "Emptied": "experiments.bootstrap",
    "reserve_to_empty": "experiments.bootstrap",
    "highmem_wall": "experiments.bootstrap",
    # Fidelity
    "replay_capture": "fidelity",
    "handover_of": "fidelity",
    "Handover": "fidelity",
    "Fidelity": "fidelity",
    "replay_slab": "fidelity",
    "SlabReplay": "fidelity",
    # Real input
    "Capture": "traces",
    "Events": "traces",
    "read_trace": "traces",
    "read_capture": "traces",
    "open_workload": "traces",
    "load": "traces",
    "save": "traces",
    "requests_from": "traces",
    "stream_requests": "traces",
    "stream_trace": "traces",
    # Errors
    "StructPageError": "errors",
    "AccessError": "errors",
    "BootstrapError": "errors",
    "CacheInUse": "errors",
    "CorruptionError": "errors",
    "DoubleFree": "errors",
    "InvalidArgument": "errors",
    "InvalidFree": "errors",
    "InvalidObject": "errors",
    "LimitExceeded": "errors",
    "MissingExtra": "errors",
    "OutOfMemory": "errors",
    "OutOfRange": "errors",
    "SlabCorruption": "errors",
    "TraceError": "errors",
    "UnknownName": "errors",
}

__all__ = ["__version__", *_NAMES]

if TYPE_CHECKING:
    from structpage.allocator import BuddyAllocator as BuddyAllocator
    from structpage.boot import Memblock as Memblock
    from structpage.boot import Region as Region
    from structpage.consumers import (
        ArchFreePage as ArchFreePage,
    )
    from structpage.consumers import (
        Consumer as Consumer,
    )
    from structpage.consumers import (
        Finding as Finding,
    )
    from structpage.consumers import (
        FreePageReporting as FreePageReporting,
    )
    from structpage.consumers import (
        InitOnFree as InitOnFree,
    )
    from structpage.consumers import (
        PagePoisoning as PagePoisoning,
    )
    from structpage.consumers import (
        Verdict as Verdict,
    )
    from structpage.consumers import (
        consumer_names as consumer_names,
    )
    from structpage.core.buffers import Declaration as Declaration
    from structpage.core.buffers import Placement as Placement
    from structpage.core.buffers import Room as Room
    from structpage.core.status import CORRUPT as CORRUPT
    from structpage.engines import CheckedEngine as CheckedEngine
    from structpage.engines import CompiledEngine as CompiledEngine
    from structpage.engines import PlainEngine as PlainEngine
    from structpage.engines import ProbedEngine as ProbedEngine
    from structpage.errors import *  # noqa: F403
    from structpage.experiments.bootstrap import BootCosts as BootCosts
    from structpage.experiments.bootstrap import Emptied as Emptied
    from structpage.experiments.bootstrap import boot_costs as boot_costs
    from structpage.experiments.bootstrap import fill_and_empty as fill_and_empty
    from structpage.experiments.bootstrap import highmem_wall as highmem_wall
    from structpage.experiments.bootstrap import reserve_to_empty as reserve_to_empty
    from structpage.experiments.cache_misses import CacheMisses as CacheMisses
    from structpage.experiments.cache_misses import cache_misses as cache_misses
    from structpage.experiments.caches import CacheLevel as CacheLevel
    from structpage.experiments.compare import Comparison as Comparison
    from structpage.experiments.compare import compare as compare
    from structpage.experiments.verdict import observe as observe
    from structpage.experiments.workload import Workload as Workload
    from structpage.fidelity import Fidelity as Fidelity
    from structpage.fidelity import Handover as Handover
    from structpage.fidelity import SlabReplay as SlabReplay
    from structpage.fidelity import handover_of as handover_of
    from structpage.fidelity import replay_capture as replay_capture
    from structpage.fidelity import replay_slab as replay_slab
    from structpage.frames import FrameMemory as FrameMemory
    from structpage.machine import Machine as Machine
    from structpage.owners import Owner as Owner
    from structpage.pages import Page as Page
    from structpage.pages import PageArray as PageArray
    from structpage.placing import placement_names as placement_names
    from structpage.replay import Replay as Replay
    from structpage.request import Requests as Requests
    from structpage.request import requests as requests
    from structpage.sizing import Tuning as Tuning
    from structpage.slab import Found as Found
    from structpage.slab import Geometry as Geometry
    from structpage.slab import Kmalloc as Kmalloc
    from structpage.slab import SlabCache as SlabCache
    from structpage.slab import SlabFlags as SlabFlags
    from structpage.slab import Who as Who
    from structpage.slab import find as find
    from structpage.slab import geometry as geometry
    from structpage.slab import slab_table as slab_table
    from structpage.slab import slabinfo as slabinfo
    from structpage.streaming import replay_stream as replay_stream
    from structpage.traces import Capture as Capture
    from structpage.traces import Events as Events
    from structpage.traces import load as load
    from structpage.traces import open_workload as open_workload
    from structpage.traces import read_capture as read_capture
    from structpage.traces import read_trace as read_trace
    from structpage.traces import requests_from as requests_from
    from structpage.traces import save as save
    from structpage.traces import stream_requests as stream_requests
    from structpage.traces import stream_trace as stream_trace
    from structpage.zones import Zone as Zone


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'structpage' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"structpage.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
