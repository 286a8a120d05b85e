"""What the tools import, for processes.py: the process that this is imported in is forked for each of them."""

import matplotlib.pyplot  # noqa: F401
import mmengine.runner  # noqa: F401
import mmpretrain.datasets  # noqa: F401
import mmpretrain.evaluation  # noqa: F401
import mmpretrain.models  # noqa: F401
import mmpretrain.visualization  # noqa: F401
import mmseg.datasets  # noqa: F401
import mmseg.evaluation  # noqa: F401
import mmseg.models  # noqa: F401
import mmseg.visualization  # noqa: F401
import sklearn.datasets  # noqa: F401

import mmlearngene.datasets  # noqa: F401
import mmlearngene.engine  # noqa: F401
import mmlearngene.models  # noqa: F401

from .quick import quicken

quicken()
