"""A plugin of pytest for joblib's own tests that have a backend as parameter: raynb's in the place of loky."""

import joblib.parallel

import raynb
import raynb.util.joblib

raynb.init(num_cpus=4, log_to_driver=False)
raynb.util.joblib.register_ray()
joblib.parallel.BACKENDS["loky"] = joblib.parallel.BACKENDS["ray"]
