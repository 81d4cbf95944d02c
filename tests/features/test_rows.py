"""Rows are what was put in, and keep nothing else alive."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from mlavl_cli.features.rows import Rows


@pytest.mark.parametrize("count", [1, 255, 256, 257, 700])
def test_rows_come_back_as_they_were(count):
    given = torch.randn(count, 5)
    rows = Rows()
    for row in given:
        rows.append(row)
    assert len(rows) == count
    np.testing.assert_array_equal(rows.numpy(), given.numpy())


def test_a_row_does_not_keep_the_output_it_is_a_view_of():
    code = """
import torch
from mlavl_cli.features.throughput import peak_memory_mb
from mlavl_cli.features.rows import Rows
rows, before = Rows(), peak_memory_mb()
for i in range(300):
    tokens = torch.full((1000, 1000), float(i))  # 4 MB a clip, as of a large backbone
    rows.append(tokens[0])
print(peak_memory_mb() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert float(done.stdout) < 100
