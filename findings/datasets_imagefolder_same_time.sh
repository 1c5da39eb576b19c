#!/usr/bin/env bash
# datasets 5.2.0: a local image folder whose annotations are mended, where all files keep one modification time.
#
# Guess before running (2026-11-28): load_dataset("imagefolder") tells a changed folder by its files' sizes and times, or by their
# content. Archives and container layers that are built to be reproducible give every file the same time, so the size decides.
#
# Seen: only paths and modification times decide. After metadata.jsonl and the image are replaced by others, of other sizes and
# with the same time, the rows come from the cache and the pixels from the file: the old label beside the new image.
# A Parquet file of 3 rows that becomes one of 5,000 is still read as 3 rows.
#
# For users: adaptertune tells data apart by content, and reads a mended local copy of a hub data set anew
# (trainables/data, "definition 2" of the fingerprint in docs/reference/experiment-file.md).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet datasets==5.2.0 pillow==13.0.0
HF_HOME="$scratch/home" "$scratch/venv/bin/python" -W ignore - "$scratch" <<'PY'
import json
import os
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

datasets.disable_progress_bars()
cells, table = Path(sys.argv[1], "cells"), Path(sys.argv[1], "table.parquet")
(cells / "train").mkdir(parents=True)


def write(label, colour, rows):
    Image.new("RGB", (8, 8), colour).save(cells / "train" / "a.png")
    line = json.dumps({"file_name": "a.png", "label": label})
    (cells / "train" / "metadata.jsonl").write_text(line + "\n")
    pq.write_table(pa.table({"row": range(rows)}), table)
    for file in (*(cells / "train").iterdir(), table):
        os.utime(file, (1_700_000_000, 1_700_000_000))


def read():
    row = datasets.load_dataset("imagefolder", data_dir=str(cells), split="train")[0]
    rows = len(datasets.load_dataset("parquet", data_files=str(table), split="train"))
    return row["label"], row["image"].getpixel((0, 0)), rows


write("lymphocyte", (200, 0, 0), 3)
first = read()
write("red blood cell", (0, 0, 200), 5000)
second = read()
print("before:", first)
print("after: ", second)
assert first == ("lymphocyte", (200, 0, 0), 3)
assert second == ("lymphocyte", (0, 0, 200), 3)
PY
echo "as stated"
