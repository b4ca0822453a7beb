"""Write what is installed in this environment as a bill of materials (CycloneDX 1.6, JSON): versions, licences, hashes of the records.

    python infra/security/bom.py --output bom.json

In an image it runs with the image's own Python, so it lists what is there and not what was meant to be; with `--system` the packages of
its Debian too, and with `--studio` what is built into the studio's page, by the lock that it was built from.
"""

import argparse
import base64
import hashlib
import json
import re
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

_NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")  # of RFC 4122, for names of objects


def components() -> list[dict[str, Any]]:
    """One per distribution, sorted by name, but our own."""
    found = {_name(d.metadata["Name"]): d for d in metadata.distributions() if d.metadata["Name"]}
    return [_component(name, found[name]) for name in sorted(found) if name != "bfs"]


def _component(name: str, distribution: metadata.Distribution) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{distribution.version}"
    made: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": distribution.version, "purl": purl}
    if licence := _licence(distribution):
        made["licenses"] = [licence]
    if record := distribution.read_text("RECORD"):  # it holds the hash of each file that was installed
        made["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(record.encode()).hexdigest()}]
    return made


def _licence(distribution: metadata.Distribution) -> dict[str, Any] | None:
    expression = distribution.metadata.get("License-Expression")
    if expression:
        return {"expression": expression}
    named = [c.rpartition(" :: ")[2] for c in distribution.metadata.get_all("Classifier") or [] if c.startswith("License ::")]
    short = (distribution.metadata.get("License") or "").strip()
    text = named[0] if named else short if 0 < len(short) < 100 else ""
    return {"license": {"name": text}} if text else None


def of_debian(status: Path) -> list[dict[str, Any]]:
    """One per package that `status`, dpkg's own list, says is installed."""
    found = []
    for paragraph in status.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status") == "install ok installed":
            name, version = fields["Package"], fields["Version"]
            purl = f"pkg:deb/debian/{name}@{quote(version)}?arch={fields['Architecture']}"
            found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return sorted(found, key=lambda component: str(component["purl"]))


def of_npm(lock: Path) -> list[dict[str, Any]]:
    """One per package of `lock`, npm's, that is no tool of the build."""
    found = []
    for place, package in json.loads(lock.read_text(encoding="utf-8"))["packages"].items():
        if place and not package.get("dev"):
            name, version = place.rpartition("node_modules/")[2], package["version"]
            purl = f"pkg:npm/{quote(name)}@{version}"
            made: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
            kind, _, digest = package["integrity"].partition("-")
            made["licenses"] = [{"expression": package["license"]}]
            made["hashes"] = [{"alg": kind.replace("sha", "SHA-"), "content": base64.b64decode(digest).hex()}]
            found.append(made)
    return sorted(found, key=lambda component: str(component["purl"]))


def bill(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole document, of all components. The same give the same one."""
    ours = metadata.version("bfs")
    serial = uuid.uuid5(_NAMESPACE, json.dumps([ours, found], sort_keys=True))
    subject = {"type": "application", "bom-ref": f"bfs@{ours}", "name": "bfs", "version": ours, "licenses": [{"expression": "Apache-2.0"}]}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": subject},
        "components": found,
    }


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Write it, and print where. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Write a bill of materials of this environment.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--system", type=Path, metavar="STATUS", help="dpkg's list, as a rule /var/lib/dpkg/status")
    parser.add_argument("--studio", type=Path, metavar="LOCK", help="serve/studio/package-lock.json")
    asked = parser.parse_args()
    output = asked.output
    found = components() + (of_debian(asked.system) if asked.system else []) + (of_npm(asked.studio) if asked.studio else [])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(bill(found), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
