"""scikit-learn under `parallel_backend("ray")`: the results equal those of the serial run."""

import joblib
import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score

import raynb.util.joblib

X, y = make_classification(300, random_state=0)


def everything():
    """Returns the scores of a grid search, a forest's probabilities, and the scores of a cross-validation."""
    grid = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, n_jobs=2).fit(X, y)
    forest = RandomForestClassifier(20, random_state=0, n_jobs=2).fit(X, y)
    scores = cross_val_score(LogisticRegression(), X, y, n_jobs=2)
    return grid.cv_results_["mean_test_score"], forest.predict_proba(X), scores


with joblib.parallel_backend("sequential"):
    serial = everything()
raynb.util.joblib.register_ray()
with joblib.parallel_backend("ray", n_jobs=2):
    for one, other in zip(serial, everything(), strict=True):
        assert np.array_equal(one, other)
print("3 passed")
