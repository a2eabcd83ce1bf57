"""Traces of a real kernel's allocations: read, kept as numpy columns, saved, turned into requests.

Reading
    read_trace      ftrace, trace-cmd report or perf script text -> Events
    read_capture    the folder of a capture -> Capture
    load, save      either, as a .npz file
    open_workload   any of these by name or path, and the captures that are shipped
    stream_trace    a trace in parts, for one that is larger than memory

What they give
    Events          a trace: one row per event, one column per thing an event can say
    Capture         a trace with the free lists before and after it
    TracedRequests  what a trace asks of an allocator; made by requests_from, and in chunks by stream_requests
"""

from __future__ import annotations

from structpage.traces.archive import load, save
from structpage.traces.capture import Capture, read_capture
from structpage.traces.events import Events
from structpage.traces.ftrace import read_trace, stream_trace
from structpage.traces.requests import TracedRequests, requests_from, stream_requests
from structpage.traces.workloads import open_workload, shipped

__all__ = [
    "Capture",
    "Events",
    "TracedRequests",
    "load",
    "open_workload",
    "read_capture",
    "read_trace",
    "requests_from",
    "save",
    "shipped",
    "stream_requests",
    "stream_trace",
]
