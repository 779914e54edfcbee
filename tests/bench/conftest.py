"""The benchmark lies at the top of the checkout and is no part of the package, so it is found by its place."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
