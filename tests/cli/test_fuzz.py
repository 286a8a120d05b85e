"""Hostile files and options, see :mod:`tests.support.hostile`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and measured as Linux does")
def test_hostile_files_and_options_are_refused_in_one_line():
    """In one process of its own, whose memory is bounded, and whose end would be seen."""
    command = [sys.executable, "-m", "tests.support.hostile", "500", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert re.search(r"\b[67]\d\d cases, 0 findings\n$", done.stderr)
