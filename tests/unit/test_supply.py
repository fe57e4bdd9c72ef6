"""The bill of materials: valid, the same every time, and what docs/dependencies.md and the requirements say.

With POPWATCH_REWRITE_DOCS=1 in the environment the table of docs/dependencies.md is rewritten instead.
"""

import json
import os
import re
import subprocess
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.supply.parts import PROJECT, REQUIREMENTS, parts
from tests.supply.sbom import bill

PAGE = PROJECT / "docs" / "dependencies.md"
HEAD = "| package | version | licence |\n|---|---|---|\n"
_ROWS = re.compile(re.escape(HEAD) + r"((?:\|.*\|\n)*)")


def test_bill_is_valid() -> None:
    """It conforms strictly to the schema of CycloneDX 1.6."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill(list(parts()))) is None


def test_bill_is_the_same_in_every_process() -> None:
    """The same bytes, whatever Python's hash seed is."""
    program = "from tests.supply.parts import parts; from tests.supply.sbom import bill; print(bill(list(parts())))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_every_package_of_the_layer_is_pinned_to_a_hash() -> None:
    """Every line of the requirements is in the bill."""
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    components = json.loads(bill(list(parts())))["components"]
    assert [line.partition(" ")[0] for line in lines] == [component["bom-ref"] for component in components]
    assert all(component["hashes"] and component["licenses"] for component in components)


def test_page_lists_the_packages() -> None:
    """Each with its version and licence."""
    rows = "".join(f"| [{part.name}]({part.source}) | {part.version} | {part.licence} |\n" for part in parts())
    text = PAGE.read_text()
    if os.environ.get("POPWATCH_REWRITE_DOCS"):
        PAGE.write_text(_ROWS.sub(lambda _: HEAD + rows, text))
        return
    assert _ROWS.findall(text) == [rows]
