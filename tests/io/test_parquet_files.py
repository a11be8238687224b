"""parquet_files.py: columns, and tables of other columns."""

import pytest

from numba_ss import ArgumentError
from numba_ss.word2vec.vectors import WordVectors


def test_parquet_columns(vectors, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet files need pyarrow")
    vectors.save(tmp_path / "v.parquet")
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table.column_names == ["id", "count", "vector"]
    assert str(table.schema.field("vector").type).startswith("fixed_size_list<")
    assert table["vector"].to_pylist() == vectors.vectors.tolist()
    nulls = table.set_column(1, "count", [[1, None, 3, 4, 5]])
    for other, message in [(table.drop(["vector"]), "columns: expected id"), (nulls, "no nulls")]:
        parquet.write_table(other, tmp_path / "v.parquet")
        with pytest.raises(ArgumentError, match=message):
            WordVectors.load(tmp_path / "v.parquet")
