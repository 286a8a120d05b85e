#!/usr/bin/env bash
# yapf 0.43.0
# Expected: the cache of the grammar is put in place whole, as the comment in yapf's Grammar.dump promises: it is written beside
#           and renamed, so that no other process reads half of it.
# Seen: "PatternGrammar-py3.11.7.final.0.pickle at the rename: EOFError: Ran out of input, 0 of 1243 bytes; once yapf is
#       imported: whole". The rename comes inside the `with` of the temporary file, so before what is buffered is written. A second process that
#       imports yapf at that moment ends with EOFError; a process killed then leaves a cache that stays broken.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --no-compile yapf==0.43.0 platformdirs==4.5.0
cd "$tmp"
HOME="$tmp" XDG_CACHE_HOME="$tmp/cache" "$tmp/venv/bin/python" - <<'PY'
import os
import pickle
import sys
from pathlib import Path

rename, seen = os.rename, []


def look(source, target):
    """Rename, and read the cache at once, as another process might."""
    rename(source, target)
    size = os.path.getsize(target)
    try:
        pickle.loads(Path(target).read_bytes())
        seen.append((target, size, "whole"))
    except (EOFError, pickle.UnpicklingError) as error:
        seen.append((target, size, f"{type(error).__name__}: {error}"))


os.rename = look
import yapf  # noqa: E402, F401

broken = [each for each in seen if each[2] != "whole"]
for target, size, what in broken:
    content = Path(target).read_bytes()
    pickle.loads(content)  # which raises, should it still be broken
    print(f"{os.path.basename(target)} at the rename: {what}, {size} of {len(content)} bytes; once yapf is imported: whole")
if not broken:
    sys.exit("The behaviour has changed.")
PY
