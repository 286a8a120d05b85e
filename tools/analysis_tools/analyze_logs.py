#!/usr/bin/env python
"""Curves and times of a run's logs, by mmpretrain's own tool.

`tools/analysis_tools/analyze_logs.py plot_curve work_dirs/lets/des/*/vis_data/scalars.json --keys loss --out loss.png`
"""

from __future__ import annotations

import runpy
from pathlib import Path

import mmpretrain

if __name__ == "__main__":
    runpy.run_path(
        str(Path(mmpretrain.__file__).parent / ".mim" / "tools" / "analysis_tools" / "analyze_logs.py"),
        run_name="__main__",
    )
