#!/usr/bin/env python
"""`mmlearngene probe`, under another name."""

import sys

from mmlearngene.cli import main

sys.exit(main(["probe", *sys.argv[1:]]))
