"""Things besides the allocator that have a claim on the content of a free page."""

from __future__ import annotations

from structpage import registry
from structpage.consumers.arch_free_page import ArchFreePage
from structpage.consumers.base import VERDICTS, Consumer, Finding, Verdict
from structpage.consumers.init_on_free import InitOnFree
from structpage.consumers.poisoning import PagePoisoning
from structpage.consumers.reporting import FreePageReporting
from structpage.errors import InvalidArgument, must

BUILTIN: dict[str, type] = {
    consumer.name: consumer for consumer in (PagePoisoning, InitOnFree, FreePageReporting, ArchFreePage)
}


def consumer_names() -> list[str]:
    """Return the names of all consumers, built-in ones first, then those of entry points."""
    return registry.names("consumer", BUILTIN)


def consumer_class(choice: str | type) -> type:
    """Return a consumer's class by name, class, entry point or `module:Class`; raises `UnknownName`."""
    return registry.find("consumer", BUILTIN, choice)


def made(choice: str | type | Consumer) -> Consumer:
    """Return a consumer that is given, or a new one of a name or class; raises `UnknownName` or `InvalidArgument`."""
    if isinstance(choice, Consumer):
        return choice
    consumer = consumer_class(choice)()
    if not isinstance(consumer, Consumer):
        raise InvalidArgument(must("consumer", "derived from structpage.Consumer", type(consumer).__name__))
    return consumer


__all__ = [
    "BUILTIN",
    "VERDICTS",
    "ArchFreePage",
    "Consumer",
    "Finding",
    "FreePageReporting",
    "InitOnFree",
    "PagePoisoning",
    "Verdict",
    "consumer_class",
    "consumer_names",
    "made",
]
