#!/usr/bin/env bash
# openmim 0.3.9
# Expected: `mim train PACKAGE small/vit.py` trains the packaged config small/vit.py, or says that there is none.
# Seen: only the base name counts. "asked small/vit.py, ran large/vit.py": the folder is dropped without a word, so another config is
#       trained. A module of the package that has the name, beside a packaged config at the very path asked for, stops the run:
#       "asked large/vit.py, beside a module vit.py: multiple config files with same name". `mim run PACKAGE train -h` says
#       "not an OpenMMLAB codebase" of a package whose `mim run PACKAGE train` runs.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet --no-compile openmim==0.3.9 setuptools==60.2.0 wheel==0.45.1
mkdir -p "$tmp/shop/shop/.mim/configs/large" "$tmp/shop/shop/.mim/tools"
cd "$tmp/shop"
echo > shop/__init__.py
echo "depth = 24" > shop/.mim/configs/large/vit.py
cat > shop/.mim/tools/train.py <<'PY'
import argparse

parser = argparse.ArgumentParser()
parser.add_argument("config")
parser.add_argument("--launcher")
print("ran", "/".join(parser.parse_args().config.split("/")[-2:]))
PY
cat > setup.py <<'PY'
from setuptools import setup

setup(name="shop", version="1.0", packages=["shop"], package_data={"shop": [".mim/configs/*/*", ".mim/tools/*"]})
PY
"$tmp/venv/bin/pip" install --quiet --no-build-isolation .
export HOME="$tmp" PATH="$tmp/venv/bin:$PATH"
cd "$tmp"
ran=$(mim train shop small/vit.py --gpus 0 2>/dev/null | grep '^ran')
echo "asked small/vit.py, $ran"
[ "$ran" = "ran large/vit.py" ]
echo > "$(python -c 'import shop; print(shop.__path__[0])')/vit.py"
said=$(mim train shop large/vit.py --gpus 0 2>&1 || true)
grep -q "multiple config files with same name" <<<"$said"
echo "asked large/vit.py, beside a module vit.py: multiple config files with same name"
said=$(mim run shop train large/vit.py 2>&1)
grep -q "ran large/vit.py" <<<"$said"
said=$(mim run shop train -h 2>&1 || true)
grep -q "shop is not an OpenMMLAB codebase" <<<"$said"
echo "mim run shop train runs; with -h: not an OpenMMLAB codebase"
