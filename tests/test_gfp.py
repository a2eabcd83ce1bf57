import pytest
from hypothesis import given
from hypothesis import strategies as st

from structpage.errors import TraceError
from structpage.gfp import PRINTED, format_gfp, parse_gfp


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("GFP_KERNEL", 0xCC0),
        ("GFP_KERNEL|__GFP_ZERO", 0xDC0),
        ("GFP_ATOMIC", 0xA20),
        ("GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO", 0x140DCA),
        ("GFP_NOWAIT|0x80000000", 0x80000800),
        ("none", 0),
        ("0xcc0", 0xCC0),
    ],
)
def test_bits_and_names_as_linux_6_1_prints_them(text, bits):
    assert parse_gfp(text) == bits
    if text != "0xcc0":
        assert format_gfp(bits) == text


def test_short_names_of_old_kernels_are_read():
    assert parse_gfp("GFP_KERNEL|GFP_ZERO|GFP_REPEAT") == 0xCC0 | 0x100 | 0x4000


@given(st.integers(0, (1 << 32) - 1))
def test_every_number_survives(bits):
    assert parse_gfp(format_gfp(bits)) == bits


def test_table_names_every_bit_below_28_but_the_unused():
    named = 0
    for _, bits in PRINTED:
        named |= bits
    assert named == (1 << 28) - 1


@pytest.mark.parametrize("text", ["GFP_KER", "", "|", "GFP_KERNEL|", "0x", "0x1ffffffff", "12", "-0x1"])
def test_what_is_no_flag_is_refused(text):
    with pytest.raises(TraceError, match=r"^gfp flag must be a known name or a hexadecimal number, not '.*'$"):
        parse_gfp(text)


def test_too_many_bits_are_refused():
    with pytest.raises(TraceError, match=r"^gfp flags must be of at most 32 bits, not 0x100000000$"):
        format_gfp(1 << 32)
