"""``python -m mmlearngene.cli`` is the console command."""

import sys

from . import main

sys.exit(main())
