"""sktime: a grid search by joblib equals the serial one; its own `backend="ray"`."""

import numpy as np
from sktime.datasets import load_airline
from sktime.forecasting.model_selection import ForecastingGridSearchCV
from sktime.forecasting.naive import NaiveForecaster
from sktime.split import SlidingWindowSplitter
from sktime.utils.parallel import parallelize

import raynb
import raynb.util.joblib

y = load_airline()
cv = SlidingWindowSplitter(window_length=60, fh=[1, 2, 3], step_length=24)


def search(backend, params):
    """Returns the mean scores of three strategies."""
    grid = ForecastingGridSearchCV(
        NaiveForecaster(), cv, {"strategy": ["last", "mean", "drift"]}, backend=backend, backend_params=params
    )
    return grid.fit(y).cv_results_.filter(like="mean_test").to_numpy()


def double(x, meta):
    """Returns twice the value."""
    return 2 * x


raynb.util.joblib.register_ray()
assert np.array_equal(search(None, None), search("joblib", {"backend": "ray", "n_jobs": 2}))
raynb.as_ray()
raynb.init(ignore_reinit_error=True)
found = parallelize(double, list(range(5)), {}, backend="ray", backend_params={"ray_remote_args": {"num_cpus": 1}})
assert found == [0, 2, 4, 6, 8], found
print("2 passed")
