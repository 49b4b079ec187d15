"""This tree beside another version of raynb: processor time of the driver, batches in turns.

``python -m benchmarks.against COMMIT_OR_FOLDER`` runs both, each in a process of its own, and prints the ratio of each
row.
"""
