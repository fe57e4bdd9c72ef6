"""`make sbom`: the bill of materials of what is deployed, in CycloneDX 1.6 (ECMA-424); the same bytes every time."""

import sys
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from popwatch import __version__
from tests.supply.parts import Part, parts

TARGET = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("popwatch.cdx.json")


def main() -> None:
    """Write the bill."""
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(bill(list(parts())))
    print(f"Written to {TARGET}.")


def bill(found: list[Part]) -> str:
    """The bill of these packages. It has no time stamp, and its serial number is derived from what it lists."""
    product = Component(name="popwatch", version=__version__, type=ComponentType.APPLICATION, bom_ref="popwatch")
    components = [_component(part) for part in found]
    listed = "\n".join(f"{part.name}=={part.version} {part.sha256}" for part in found)
    bom = Bom(components=components, serial_number=uuid5(NAMESPACE_URL, f"popwatch {__version__}\n{listed}"))
    bom.metadata.component = product
    bom.metadata.timestamp = None  # type: ignore[assignment]
    bom.register_dependency(product, components)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _component(part: Part) -> Component:
    source = [ExternalReference(type=ExternalReferenceType.VCS, url=XsUri(part.source))] if part.source else []
    return Component(
        name=part.name,
        version=part.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{part.name}=={part.version}",
        purl=PackageURL("pypi", name=part.name.lower().replace("_", "-"), version=part.version),
        licenses=[LicenseFactory().make_from_string(part.licence)],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=part.sha256)],
        external_references=source,
    )


if __name__ == "__main__":
    main()
