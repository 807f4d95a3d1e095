"""A system whose locale has no letters but ASCII."""

import os
import subprocess
import sys

import pytest
from PIL import Image

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are text elsewhere")
def test_names_with_other_letters_fail_by_themselves(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("plain.png", "grün.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / "in" / name)
    (tmp_path / "p.yaml").write_text("genloom: 1\nname: p\nstages: [load, save]\n")
    result = subprocess.run(
        [sys.executable, "-m", "genloom", "run", "p.yaml", "in", "-o", "out"],
        cwd=tmp_path,
        env={**os.environ, **ASCII},
        capture_output=True,
    )
    assert result.returncode == 1
    assert b"the locale lacks letters of its name. Set LC_ALL=C.UTF-8" in result.stderr
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["plain.png"]
