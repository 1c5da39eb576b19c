#!/usr/bin/env bash
# pyarrow 26.0.1 with pandas 3.1.1 beside it: `to_numpy` of a column of integers imports pandas.
#
# Guess before running (2026-11-29): `to_numpy()` of integers without a null is a view of the array's buffer, so it needs numpy only.
#
# Seen: the result is such a view, but the call imports pandas first, if it is installed: nearly three hundred modules. `numpy.asarray` of the
# array does the same. `numpy.from_dlpack` gives the same view without pandas. (`pyarrow.array` of a list imports pandas as well, so the
# array here is made from a buffer, as by reading a file.)
#
# For users: reading prepared data uses DLPack (trainables/data/prepared.py), which saves each worker that import.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet pyarrow==26.0.1 pandas==3.1.1
for how in 'column.to_numpy()' 'numpy.asarray(column)' 'numpy.from_dlpack(column)'; do
  "$scratch/venv/bin/python" - "$how" <<'PY'
import sys

import numpy
import pyarrow

values = pyarrow.py_buffer(numpy.array([1, 2, 3]).tobytes())
column = pyarrow.Array.from_buffers(pyarrow.int64(), 3, [None, values])
before = set(sys.modules)
assert "pandas" not in before
found = eval(sys.argv[1])
assert found.tolist() == [1, 2, 3]
assert found.ctypes.data == column.buffers()[1].address, "a copy"
new = {name for name in set(sys.modules) - before if name.partition(".")[0] == "pandas"}
print(f"{sys.argv[1]:28}imports {len(new)} modules of pandas")
assert (len(new) > 200) == ("dlpack" not in sys.argv[1]), len(new)
PY
done
echo "as stated"
