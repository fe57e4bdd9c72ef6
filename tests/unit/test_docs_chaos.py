"""docs/chaos.md: every test that it names is there."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "chaos.md").read_text("utf-8")
SOURCES = {path: path.read_text("utf-8") for path in (PROJECT / "tests").rglob("test_*.py")}


def test_named_tests_exist() -> None:
    """In the file that is named with it, if one is."""
    named = re.findall(r"`(?:([\w/]+\.py)::)?(test_\w+)`", PAGE)
    assert len(named) > 60
    for file, name in named:
        places = [PROJECT / "tests" / file] if file else list(SOURCES)
        assert any(re.search(rf"^ *def {name}\(", SOURCES[place], re.MULTILINE) for place in places), (file, name)
