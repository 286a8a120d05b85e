"""The optional folder `shared` beside the checkout: real images and golden numbers that the project does not ship."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the optional data folder {SHARED} is absent")
