#!/usr/bin/env bash
# Install mmcv with its operators for the CPU: build_mmcv_ops.sh PYTHON onedl-mmcv==2.3.6 (or mmcv==2.1.0)
#
# A quick build for tests: without optimisation, and the headers of torch, which nearly every source includes, are compiled
# once. It takes minutes of CPU where the usual build takes most of an hour.
set -euo pipefail
python=$(realpath -s "$1") package=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m pip download --quiet --no-deps --no-binary :all: --no-build-isolation -d "$work" "$package"
mkdir "$work/source"
tar xzf "$work"/*mmcv-*.tar.gz -C "$work/source" --strip-components 1
flags="-O0 -g0 -w -fPIC"
includes=$("$python" -c "
import sysconfig
from torch.utils.cpp_extension import include_paths
print(*(f'-I{path}' for path in [*include_paths(), sysconfig.get_paths()['include']]))")
echo '#include <torch/types.h>' > "$work/torch.hpp"
# the standard and the macros are those of the sources, or the compiler would not take the headers
c++ -x c++-header $flags $includes -std=c++17 -DTORCH_API_INCLUDE_EXTENSION_H -DTORCH_EXTENSION_NAME=_ext \
    "$work/torch.hpp" -o "$work/torch.hpp.gch"
cd "$work/source"
CFLAGS="-O0 -g0 -w -include $work/torch.hpp" MMCV_WITH_OPS=1 FORCE_CUDA=0 CUDA_VISIBLE_DEVICES= MAX_JOBS=${MAX_JOBS:-2} \
    "$python" -m pip install --no-deps --no-build-isolation --force-reinstall .
