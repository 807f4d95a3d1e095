"""A run that is killed, or whose disk, inputs or models fail it, loses nothing: a small round."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_killed_at_every_place_and_faced_with_every_fault_it_loses_nothing():
    command = [sys.executable, str(ROOT / "benchmarks/faults.py"), "--kills", "12", "--random", "1"]
    chosen = ["--only", "kills", "vanishing", "model", "two"]
    done = subprocess.run([*command, *chosen], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 kills aimed at a place" in done.stdout
    assert done.stdout.rstrip().endswith("nothing lost, nothing half-written")
