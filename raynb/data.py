"""``ray.data``: only the functions that mean plain refs; libraries such as Modin and Daft call them.

Everything else imports, and refuses on use with the alternative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raynb import api
from raynb.base.ray_names.refused import stand_in
from raynb.base.ref import ObjectRef


class Dataset:
    """Blocks of one table, as refs. Not Ray's Dataset: it holds blocks and gives them back.

    Args:
        refs: a ref of each block.
        kind: ``"pandas"``, ``"arrow"`` or ``"numpy"``: what the blocks are.
    """

    def __init__(self, refs: Sequence[ObjectRef[Any]], kind: str) -> None:
        self._refs = list(refs)
        self._kind = kind

    def num_blocks(self) -> int:
        """Returns how many blocks there are."""
        return len(self._refs)

    def count(self) -> int:
        """Returns how many rows there are; the workers count."""
        return sum(api.get([_rows.remote(ref) for ref in self._refs]))

    def to_pandas_refs(self) -> list[ObjectRef[Any]]:
        """Returns refs of pandas frames, converted on the workers where the blocks are not pandas already."""
        return self._refs if self._kind == "pandas" else [_pandas.remote(ref) for ref in self._refs]

    def to_arrow_refs(self) -> list[ObjectRef[Any]]:
        """Returns refs of Arrow tables, converted on the workers where the blocks are not Arrow already."""
        return self._refs if self._kind == "arrow" else [_arrow.remote(ref) for ref in self._refs]

    def to_pandas(self) -> Any:
        """Returns one pandas frame of all blocks."""
        import pandas

        return pandas.concat(api.get(self.to_pandas_refs()), ignore_index=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(stand_in("ray.data", "Dataset"), name)

    def __repr__(self) -> str:
        return f"Dataset({len(self._refs)} {self._kind} blocks)"


def _as_list(refs: Any) -> list[ObjectRef[Any]]:
    return [refs] if isinstance(refs, ObjectRef) else list(refs)


def from_pandas_refs(dfs: Any) -> Dataset:
    """Returns a `Dataset` of refs of pandas frames (``ray.data.from_pandas_refs``)."""
    return Dataset(_as_list(dfs), "pandas")


def from_arrow_refs(tables: Any) -> Dataset:
    """Returns a `Dataset` of refs of Arrow tables (``ray.data.from_arrow_refs``)."""
    return Dataset(_as_list(tables), "arrow")


def from_pandas(dfs: Any) -> Dataset:
    """Returns a `Dataset` of pandas frames, each put once (``ray.data.from_pandas``)."""
    frames = dfs if isinstance(dfs, (list, tuple)) else [dfs]
    return Dataset([api.put(frame) for frame in frames], "pandas")


def from_arrow(tables: Any) -> Dataset:
    """Returns a `Dataset` of Arrow tables, each put once (``ray.data.from_arrow``)."""
    blocks = tables if isinstance(tables, (list, tuple)) else [tables]
    return Dataset([api.put(block) for block in blocks], "arrow")


@api.remote
def _rows(block: Any) -> int:
    return len(block)


@api.remote
def _pandas(block: Any) -> Any:
    return block.to_pandas()


@api.remote
def _arrow(block: Any) -> Any:
    import pyarrow

    return pyarrow.Table.from_pandas(block)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return stand_in("ray.data", name)
