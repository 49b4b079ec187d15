"""`joblib.Parallel` on the backend "ray": lists, both kinds of generators, nesting and an error."""

import operator

import joblib
from joblib import Parallel, delayed

import raynb.util.joblib


def total(n):
    """Returns the sum of the numbers below `n`, by a `Parallel` inside the task."""
    return sum(Parallel(n_jobs=2)(delayed(abs)(-i) for i in range(n)))


raynb.util.joblib.register_ray()
with joblib.parallel_backend("ray", n_jobs=2):
    assert Parallel()(delayed(operator.mul)(i, 2) for i in range(200)) == [2 * i for i in range(200)]
    assert list(Parallel(return_as="generator")(delayed(abs)(-i) for i in range(20))) == list(range(20))
    assert sorted(Parallel(return_as="generator_unordered")(delayed(abs)(-i) for i in range(20))) == list(range(20))
    assert Parallel()(delayed(total)(n) for n in range(5)) == [sum(range(n)) for n in range(5)]
    try:
        Parallel()(delayed(operator.truediv)(1, i) for i in range(2))
    except ZeroDivisionError:
        print("5 passed")
