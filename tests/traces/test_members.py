import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from structpage.errors import TraceError
from structpage.traces import members
from structpage.traces.members import ColumnReader, read_column, write_column

DTYPES = [np.int8, np.int32, np.int64, np.uint8, np.uint16, np.uint32]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("members") / "a.zip"


def written(path, column):
    with zipfile.ZipFile(path, "w") as archive:
        write_column(archive, "c", column)
    return zipfile.ZipFile(path)


def in_step(archive, rows, dtype, size):
    reader = ColumnReader(archive, "c", rows, np.dtype(dtype))
    parts = [reader.read(min(size, rows - start)) for start in range(0, rows, size)]
    assert {part.dtype for part in parts} <= {np.dtype(dtype)}
    return [number for part in parts for number in part.tolist()]


@given(st.sampled_from(DTYPES).flatmap(lambda dtype: arrays(dtype, st.integers(0, 40))), st.integers(1, 45))
def test_a_column_in_step_is_the_column(path, column, size):
    with written(path, column) as archive:
        assert in_step(archive, len(column), column.dtype, size) == column.tolist()
        assert read_column(archive, "c", len(column), column.dtype).tolist() == column.tolist()


def test_a_column_longer_than_any_buffer(path):
    column = np.random.default_rng(1).integers(-(1 << 40), 1 << 40, 300_000)
    with written(path, column) as archive:
        assert in_step(archive, len(column), np.int64, 70_001) == column.tolist()


@pytest.mark.parametrize("rows", [0, 2, 4, 1 << 60])
def test_another_number_of_rows_is_refused_at_once(path, rows):
    with written(path, np.array([1, 2, 3], np.int32)) as archive:
        message = rf"^member c must be of {rows} rows of at most 4 bytes, not 1 bytes of 3 rows in \d+$"
        with pytest.raises(TraceError, match=message):
            ColumnReader(archive, "c", rows, np.dtype(np.int32))
        with pytest.raises(TraceError, match=rf"^member c must be of {rows} rows, not 3$"):
            read_column(archive, "c", rows, np.dtype(np.int32))


def test_a_column_wider_than_its_dtype_is_refused_at_once(path):
    with written(path, np.array([1 << 20, 2], np.int32)) as archive, pytest.raises(TraceError, match=r"^member c must"):
        ColumnReader(archive, "c", 2, np.dtype(np.int8))


def test_a_member_that_ends_early_is_refused_at_once(path):
    with zipfile.ZipFile(path, "w") as archive:
        write_column(archive, "c", np.arange(100, dtype=np.uint8))
        data = archive.read("c.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("c.npy", data[:-1])
    with zipfile.ZipFile(path) as archive, pytest.raises(TraceError, match=r"^member c must be of 100 rows"):
        ColumnReader(archive, "c", 100, np.dtype(np.uint8))


def test_damage_is_found_when_it_is_reached(path):
    column = np.random.default_rng(2).integers(0, 255, 200_000).astype(np.uint8)
    written(path, column).close()
    data = bytearray(path.read_bytes())
    data[150_000] ^= 0xFF
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        reader = ColumnReader(archive, "c", len(column), np.dtype(np.uint8))
        assert reader.read(1000).tolist() == column[:1000].tolist()
        with pytest.raises(zipfile.BadZipFile):
            reader.read(len(column) - 1000)


def test_a_member_that_claims_too_much_is_refused(path, monkeypatch):
    with written(path, np.zeros(5000, np.uint8) + np.uint8(1)) as archive:
        monkeypatch.setattr(members, "_MOST_FROM_ONE", 2)
        with pytest.raises(TraceError, match=r"^member c must be of at most 2 bytes from one, not 5128$"):
            ColumnReader(archive, "c", 5000, np.dtype(np.uint8))
