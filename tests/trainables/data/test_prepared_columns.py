from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from trainables.data.prepared import _flags, _numbers
from trainables.preparation import prepare_workload
from trainables.specs.workload import Workload

FLAGS = pa.array([True, False, False, True, True, False, True, False, False, True, True])
PARTS = [FLAGS, FLAGS.slice(3, 7), FLAGS.slice(9, 2), FLAGS.slice(4, 0)]


@pytest.mark.parametrize("given", [*PARTS, pa.concat_arrays(PARTS)], ids=range(5))
def test_flags_are_read_as_arrow_reads_them(given: Any) -> None:
    assert _flags(given).tolist() == given.to_pylist()
    assert _flags(given).dtype == bool


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64(), pa.float32(), pa.float64()], ids=str)
def test_numbers_are_read_as_arrow_reads_them(kind: pa.DataType) -> None:
    whole = pa.array([1, 2, 3, 4, 5], kind)
    for given in (whole, whole.slice(2, 2), whole.slice(5), pa.chunked_array([whole.slice(1, 3), whole])):
        assert _numbers(given).tolist() == given.to_pylist()
        assert _numbers(given).dtype == kind.to_pandas_dtype()
    assert len(_numbers(pa.chunked_array([], kind))) == 0


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_a_worker_that_reads_prepared_data_imports_no_pandas(task: str, cache: Path) -> None:
    metric = {"segmentation": "dice", "detection": "map"}[task]
    asked: dict[str, Any] = {
        "task": task,
        "model": {"name": "embedded"},
        "data": {"embedded": {"domain": "inverted", "train": 8, "validation": 4, "test": 1}},
        "objective": {"metric": metric},
    }
    workload = Workload.model_validate_json(json.dumps(asked))
    prepared = prepare_workload(workload)
    code = """
import sys
from pathlib import Path
from trainables.data.prepared import open_prepared

for split in open_prepared(Path(sys.argv[1])).splits.values():
    for i in range(len(split)):
        split.truth(i), split.image(i), split.stacked([i])
print("pandas" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(prepared)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
