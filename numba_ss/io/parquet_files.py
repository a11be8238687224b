"""Parquet tables of ids and vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from numba_ss._optional import import_optional
from numba_ss._types import Float32s, Integers, PathLike
from numba_ss.io.files import whole_file
from numba_ss.io.stored_vectors import fail, opened

_PARQUET = "reading or writing Parquet"


def write_table(
    path: PathLike, ids: list[str] | Integers, vectors: Float32s, counts: Integers | None = None
) -> None:
    """Write columns id, count (int64, if any), vector (fixed-size list of float)."""
    arrow, parquet = (import_optional(name, _PARQUET) for name in ("pyarrow", "pyarrow.parquet"))
    columns = {"id": arrow.array(ids, arrow.string() if isinstance(ids, list) else arrow.int64())}
    if counts is not None:
        columns["count"] = arrow.array(counts)
    numbers = arrow.array(vectors.reshape(-1))
    columns["vector"] = arrow.FixedSizeListArray.from_arrays(numbers, vectors.shape[1])
    with whole_file(path) as file:
        # No dictionary and no compression: all ids and nearly all numbers are different.
        parquet.write_table(
            arrow.table(columns), file, compression="none", use_dictionary=False,
            write_page_checksum=True,
        )


def read_table(
    path: PathLike, id_types: Sequence[str]
) -> tuple[list[str] | Integers, Float32s, Integers | None]:
    """Read what `write_table` wrote, with ids of one of these types."""
    arrow, parquet = (import_optional(name, _PARQUET) for name in ("pyarrow", "pyarrow.parquet"))
    with opened(path, "a Parquet file of vectors") as file:
        table = parquet.read_table(file, page_checksum_verification=True)
        types = {field.name: field.type for field in table.schema}
        dim = getattr(types.get("vector"), "list_size", 0)
        wanted = {"id": types.get("id"), "vector": arrow.list_(arrow.float32(), dim)}
        if "count" in types:
            wanted["count"] = arrow.int64()
        if types != wanted or dim < 1 or str(types["id"]) not in id_types:
            expected = (
                f"id: {' or '.join(id_types)}, count: int64 (or none), "
                "vector: fixed_size_list<float>"
            )
            fail(path, "columns", expected, ", ".join(f"{k}: {v}" for k, v in types.items()))
        if any(column.null_count for column in table.columns):
            fail(path, "columns", "no nulls", "some")
        chunks = [chunk.flatten().to_numpy() for chunk in table["vector"].chunks]
        vectors = np.concatenate(chunks).reshape(-1, dim)
        counts = table["count"].to_numpy() if "count" in types else None
        column = table["id"]
        ids = column.to_numpy() if types["id"] == arrow.int64() else column.to_pylist()
        return ids, vectors, counts
