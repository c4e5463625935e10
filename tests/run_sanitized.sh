#!/usr/bin/env bash
# The engine's and the optimizers' tests on an extension built with AddressSanitizer and UndefinedBehaviorSanitizer (GCC's) and
# with the C++ library's own checks, with the scalar kernels alone: the vectors' are the same templates, and take very long to
# compile with the sanitizers.
#
#   tests/run_sanitized.sh [FOLDER]
#
# Build and installation go to FOLDER, which is kept and makes the next run quicker; without one, to a temporary folder. The source
# tree is not touched: the sanitized package comes before any other on PYTHONPATH. Needs an environment with the test extra.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
if [[ $# -gt 0 ]]; then
  mkdir -p "$1"
  folder=$(cd "$1" && pwd)
else
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
export CXX=${CXX:-g++}

python -m pip install --quiet --no-deps --upgrade --target "$folder/site" \
  --config-settings=build-dir="$folder/build" \
  --config-settings=cmake.define.RNNEXT_SANITIZE=address,undefined \
  --config-settings=cmake.define.RNNEXT_WERROR=ON \
  "$root"

# The interpreter is not sanitized, so the runtime has to be loaded before it; and the C++ library with it, for the runtime to find
# the function behind `throw`.
preload="$("$CXX" -print-file-name=libasan.so) $("$CXX" -print-file-name=libstdc++.so)"
# Leaks are not reported: the interpreter and NumPy keep what they hold until the process ends, and that would drown ours. What is too
# large to be allocated is refused, as it is without the sanitizers: tests ask for such arrays.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
export PYTHONPATH="$folder/site"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} # conftest.py would say 1, and how threads share the work is to be checked, too

cd "$root"
where=$(LD_PRELOAD=$preload python -c 'import importlib.util as u; print(u.find_spec("rnnext").submodule_search_locations[0])')
if [[ $where != "$folder/site/rnnext" ]]; then
  echo "rnnext comes from $where, expected $folder/site/rnnext" >&2
  exit 1
fi
# Left out, for their length under sanitizers: the comparisons of bits between numbers of threads, the largest shapes (of the options
# H = 37 as well, whose last, narrow panel kernels of one lane do not have), what only repeats others, what only keeps a thread busy.
LD_PRELOAD=$preload python -m pytest -q --capture=sys -p no:cacheprovider \
  -k "not number_of_threads and not large_shapes and not begin_alike and not H37 and not every_isa and not gil_is_released \
    and not looking_changes and not resuming_changes and not no_state_is and not (as_with_the_whole_gradient and clipping0)" \
  tests/test_engine*.py tests/test_optimizers.py
