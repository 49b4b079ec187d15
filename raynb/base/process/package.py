"""The folder of this package: frames of its files are not the user's."""

from __future__ import annotations

import os

#: The package's folder, with a separator at its end.
FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
#: The folder that an interpreter needs on its path to import the package.
PARENT = os.path.dirname(FOLDER.rstrip(os.sep))
