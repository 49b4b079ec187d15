"""The notebook: magics, cells as tasks, output, views and reports. `extension.py` loads it."""
