"""``ray.experimental.internal_kv``: a table of bytes that the whole runtime shares, kept by an actor."""

from __future__ import annotations

from typing import Any

from raynb import api

_NAME, _NAMESPACE = "raynb-internal-kv", "_raynb"


class _Table:
    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def put(self, key: bytes, value: bytes, overwrite: bool) -> bool:
        there = key in self.rows
        if overwrite or not there:
            self.rows[key] = value
        return there

    def delete(self, key: bytes, by_prefix: bool) -> int:
        gone = [name for name in self.rows if name.startswith(key)] if by_prefix else [key] * (key in self.rows)
        for name in gone:
            del self.rows[name]
        return len(gone)

    def names(self, prefix: bytes) -> list[bytes]:
        return [name for name in self.rows if name.startswith(prefix)]


def _table() -> Any:
    make = api.remote(_Table).options(
        name=_NAME, namespace=_NAMESPACE, get_if_exists=True, lifetime="detached", num_cpus=0
    )
    return make.remote()


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _key(key: str | bytes, namespace: str | bytes | None) -> bytes:
    return _bytes(namespace or b"") + b"\0" + _bytes(key)


def _internal_kv_initialized() -> bool:
    """Returns whether a runtime is running."""
    return api.is_initialized()


def _internal_kv_get(key: str | bytes, *, namespace: str | bytes | None = None) -> bytes | None:
    """Returns the value of a key, or None."""
    found: bytes | None = api.get(_table().get.remote(_key(key, namespace)))
    return found


def _internal_kv_exists(key: str | bytes, *, namespace: str | bytes | None = None) -> bool:
    """Returns whether a key has a value."""
    return _internal_kv_get(key, namespace=namespace) is not None


def _internal_kv_put(
    key: str | bytes, value: str | bytes, overwrite: bool = True, *, namespace: str | bytes | None = None
) -> bool:
    """Sets the value of a key; returns whether it had one."""
    there: bool = api.get(_table().put.remote(_key(key, namespace), _bytes(value), overwrite))
    return there


def _internal_kv_del(
    key: str | bytes, *, del_by_prefix: bool = False, namespace: str | bytes | None = None
) -> int:
    """Removes a key, or all that begin so; returns how many were removed."""
    count: int = api.get(_table().delete.remote(_key(key, namespace), del_by_prefix))
    return count


def _internal_kv_list(prefix: str | bytes, *, namespace: str | bytes | None = None) -> list[bytes]:
    """Returns the keys that begin so."""
    names: list[bytes] = api.get(_table().names.remote(_key(prefix, namespace)))
    return [name.partition(b"\0")[2] for name in names]
