"""Bytes of a trace file, decompressed on the way: a stream of blocks, typed errors, bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from structpage.errors import InvalidArgument, must

BLOCK: Final = 1 << 20
"""Most bytes that one step reads or gives back."""

GZIP_MAGIC: Final = b"\x1f\x8b"
XZ_MAGIC: Final = b"\xfd7zXZ\0"
BZIP2_MAGIC: Final = b"BZh"
_TRUNCATED: Final = "the compressed data end before their end mark"


class BrokenStream(Exception):
    """The compressed data end early or are damaged; what came before has been given out."""


class _Gzip:
    # The face of a bz2 or lzma decompressor for zlib's.
    unused_data = b""
    eof = False
    needs_input = True

    def __init__(self) -> None:
        import zlib

        self._inflate = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        inflate = self._inflate
        out = inflate.decompress(inflate.unconsumed_tail + data, max_length)
        self.eof, self.unused_data = inflate.eof, inflate.unused_data
        # A full output buffer may hide output that is still to come though all input is used.
        self.needs_input = len(out) < max_length and not inflate.unconsumed_tail
        return out


def read_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of a stream in blocks of at most `BLOCK`, decompressed if they are gzip, xz or bzip2.

    Raises:
        BrokenStream: the compressed data end early or are damaged.
        InvalidArgument: the stream gives text.
        OSError: from the stream itself.

    """
    block = _read(stream)
    if block.startswith((GZIP_MAGIC, XZ_MAGIC, BZIP2_MAGIC)):
        yield from _decoded(stream, block)
        return
    while block:
        yield block
        block = _read(stream)


def _read(stream: BinaryIO) -> bytes:
    block: object = stream.read(BLOCK)
    if not isinstance(block, bytes):
        found = f"one that reads {type(block).__name__}"
        raise InvalidArgument(must("trace file", "open in binary mode", found))
    return block


def _decoded(stream: BinaryIO, block: bytes) -> Iterator[bytes]:
    while block:
        decoder = _decoder(block)
        errors = _errors(block)
        while not decoder.eof:
            try:
                data = decoder.decompress(block, BLOCK)
            except errors as error:
                raise BrokenStream(f"the compressed data are damaged ({error})") from error
            if data:
                yield data
            block = b""
            if decoder.needs_input and not decoder.eof:
                block = _read(stream)
                if not block:
                    raise BrokenStream(_TRUNCATED)
        # Several compressed files may stand one after the other, with zeros after each.
        block = decoder.unused_data.lstrip(b"\0") or _read(stream).lstrip(b"\0")


def _decoder(block: bytes) -> Any:
    if block.startswith(XZ_MAGIC):
        import lzma

        return lzma.LZMADecompressor()
    if block.startswith(BZIP2_MAGIC):
        import bz2

        return bz2.BZ2Decompressor()
    return _Gzip()


def _errors(block: bytes) -> tuple[type[Exception], ...]:
    # What the decompressor for this block raises on damage; lzma and bz2 raise EOFError if used past an end.
    if block.startswith(XZ_MAGIC):
        import lzma

        return (lzma.LZMAError, EOFError)
    if block.startswith(BZIP2_MAGIC):
        return (OSError, ValueError, EOFError)
    import zlib

    return (zlib.error,)
