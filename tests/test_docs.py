"""What the docs say is what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_reference_is_the_one_made_from_the_code():
    process = subprocess.run(
        [sys.executable, "scripts/reference", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr or "run scripts/reference"


def test_the_pictures_of_styles_are_those_that_the_script_draws():
    process = subprocess.run(
        [sys.executable, "scripts/styles", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr or "run scripts/styles"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_names_exists(page):
    from genloom.cli import OWN, SHIPPED

    known = {*OWN, *SHIPPED}
    for word in re.findall(r"`genloom ([a-z]+)", page.read_text(encoding="utf-8")):
        assert word in known, f"`genloom {word}` is no command"


def test_the_plugin_of_the_docs_keeps_the_contract_of_a_stage(tmp_path):
    import importlib.util

    from genloom.catalog import Catalog

    page = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    plugin, check = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "genloom_warm.py").write_text(plugin)
    spec = importlib.util.spec_from_file_location("genloom_warm", tmp_path / "genloom_warm.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["genloom_warm"] = module
    spec.loader.exec_module(module)
    exec(check, {"Warm": module.Warm})
    catalog = Catalog.load()
    assert catalog.register(module).error == ""
    assert catalog.stage("warm") is module.Warm
