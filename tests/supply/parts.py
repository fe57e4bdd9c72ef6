"""What is deployed beside popwatch's own code: the layer's packages, from its requirements and their metadata."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

PROJECT = Path(__file__).parents[2]
REQUIREMENTS = PROJECT / "layers" / "popwatch" / "requirements.txt"
_PIN = re.compile(r"^([\w.-]+)==(\S+) --hash=sha256:([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Part:
    """A package: its name, version, the SHA-256 of its wheel, its licence (SPDX), and where its source is."""

    name: str
    version: str
    sha256: str
    licence: str
    source: str


def parts() -> Iterator[Part]:
    """The packages in their order. Raises ValueError if the version installed here is not the pinned one."""
    for name, version, sha256 in _PIN.findall(REQUIREMENTS.read_text()):
        installed = distribution(name)
        if installed.version != version:
            raise ValueError(
                f"{name} {installed.version} is installed here, and {version} is pinned: run make install."
            )
        yield Part(name, version, sha256, _licence(installed), _source(installed))


def _licence(installed: Distribution) -> str:
    metadata = installed.metadata
    return metadata["License-Expression" if "License-Expression" in metadata else "License"]


def _source(installed: Distribution) -> str:
    urls = dict(entry.split(", ", 1) for entry in installed.metadata.get_all("Project-URL") or ())
    words = ("source", "repository", "github", "homepage")
    named = {label.lower(): url for label, url in urls.items()}
    found = next((url for word in words for label, url in named.items() if word in label), None)
    return found or str(installed.metadata.json.get("home_page", ""))
