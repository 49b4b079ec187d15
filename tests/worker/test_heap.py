"""Pages of the C library's heap in workers: kept from task to task, given back when the worker idles."""

from __future__ import annotations

import os
import platform
import resource
from typing import Any

import pytest

import raynb as ray
from raynb.base.process import heap
from raynb.testing.leaks import until

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these limits")

BLOCKS, BLOCK = 10, 2 << 20


def churn() -> tuple[int, list[int]]:
    """Allocates and drops 20 MB in blocks of 2 MB, four times; returns the page faults of each."""
    faults = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [bytearray(BLOCK) for _ in range(BLOCKS)]
        del blocks
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return os.getpid(), faults


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.raynb(num_cpus=1)
def test_what_a_task_frees_is_reused_until_the_worker_idles(raynb_runtime: Any) -> None:
    pid, faults = ray.get(ray.remote(churn).remote())
    pages = BLOCKS * BLOCK // resource.getpagesize()
    assert min(faults[1:]) < pages // 10  # before, each allocation had all of them cleared anew
    with_them = ray.get(ray.remote(lambda: (churn(), resident(os.getpid()))[1]).remote())
    assert until(lambda: resident(pid) < with_them - BLOCKS * BLOCK // 2)


def test_limits_of_the_users_environment_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_libc", None)
    for name, value in (("MALLOC_TRIM_THRESHOLD_", "65536"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=65536")):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            heap.keep_pages()
            assert heap._libc is None
    heap.give_back()  # does nothing
