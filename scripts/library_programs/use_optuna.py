"""Optuna: a study that tasks share through a journal, and threads whose objective submits tasks."""

import tempfile

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import raynb as ray

optuna.logging.set_verbosity(optuna.logging.ERROR)
folder = tempfile.TemporaryDirectory()
path = f"{folder.name}/journal"


def objective(trial):
    """Returns the square of a distance."""
    return (trial.suggest_float("x", -3, 3) - 1) ** 2


@ray.remote
def work(n):
    """Runs `n` trials of the shared study."""
    study = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(path)))
    study.optimize(objective, n_trials=n)


study = optuna.create_study(study_name="s", storage=JournalStorage(JournalFileBackend(path)))
ray.get([work.remote(10) for _ in range(2)])
assert len(study.trials) == 20
assert all(trial.value == (trial.params["x"] - 1) ** 2 for trial in study.trials)

square = ray.remote(lambda x: x * x)
threads = optuna.create_study()
threads.optimize(lambda trial: ray.get(square.remote(trial.suggest_float("x", -1, 1))), 20, n_jobs=2)
assert len(threads.trials) == 20
assert all(trial.value == trial.params["x"] ** 2 for trial in threads.trials)
ray.shutdown()
folder.cleanup()
print("2 passed")
