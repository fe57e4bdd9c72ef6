"""The documentation as a site: it builds strictly, holds every page, and loads nothing from anywhere else."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
PAGES = sorted(path.stem for path in (PROJECT / "docs").glob("*.md"))
FOLLOWED = {("a", "href")}
"""Where an address is only followed when somebody wants to; in any other attribute it may be loaded."""

ADDRESS = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
LOADED_BY_STYLE = re.compile(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)")


class Loads(HTMLParser):
    """Gathers the foreign addresses that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if (tag, name) not in FOLLOWED and name != "xmlns" and ADDRESS.match(value or ""):
                self.foreign.append(f"{tag} {name}={value}")


def foreign_of(html: str) -> list[str]:
    page = Loads()
    page.feed(html)
    return page.foreign


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    program = [str(Path(sys.executable).parent / "mkdocs"), "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(program, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_pages_load_nothing_from_elsewhere(site: Path, page: str) -> None:
    """No font, script, picture or style of another server, and nothing for which the theme would fetch a script."""
    html = (site / f"{page}.html").read_text()
    assert foreign_of(html) == []
    assert "mermaid" not in html  # the theme would fetch it from a CDN
    assert 'data-md-component="source"' not in html  # a repository's figures, which the theme asks of its server
    assert "unpkg.com" not in html


def test_styles_load_nothing_from_elsewhere(site: Path) -> None:
    """Fonts and pictures of the styles are in the site, or in the styles themselves."""
    found = [
        address
        for style in site.rglob("*.css")
        for match in LOADED_BY_STYLE.findall(style.read_text())
        for address in match
        if ADDRESS.match(address)
    ]
    assert found == []


def test_what_loads_is_found() -> None:
    """The check itself: what would be loaded is found, and what is only linked to is not."""
    page = '<a href="https://a.example">a</a><img src="//b.example/x.png"><link href="https://c.example/x.css">'
    assert foreign_of(page) == ["img src=//b.example/x.png", "link href=https://c.example/x.css"]
    assert LOADED_BY_STYLE.findall("@import 'https://d.example/x.css'; a { background: url(//e.example/x) }") == [
        ("", "https://d.example/x.css"),
        ("//e.example/x", ""),
    ]


def test_no_plugin_speaks_to_others() -> None:
    """Search is the only plugin: no analytics, no social cards."""
    settings = yaml.safe_load((PROJECT / "mkdocs.yml").read_text())
    assert settings["plugins"] == ["search"]
    assert settings["theme"]["font"] is False
    assert "analytics" not in settings["extra"]


def test_users_of_make_run_install_no_site_builder() -> None:
    """What builds the site is in requirements/docs.txt only."""
    run = (PROJECT / "requirements" / "run.txt").read_text()
    docs = (PROJECT / "requirements" / "docs.txt").read_text()
    assert "mkdocs" not in run
    assert "mkdocs-material==" in docs
