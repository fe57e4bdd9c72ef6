"""Figures in the docs: a section is replaced by its title, and the others stay."""

from pathlib import Path

from tests.measured import write_section


def test_a_section_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """A new one goes to the end; what is written again stays where it was."""
    document = tmp_path / "figures.md"
    document.write_text("# Figures\n\nMade by machines.\n")
    for title, body in (("One", "1\n"), ("Two", "2\n"), ("One", "1.5\n")):
        write_section(document, title, body)
    assert document.read_text() == "# Figures\n\nMade by machines.\n\n## One\n\n1.5\n\n## Two\n\n2\n"
