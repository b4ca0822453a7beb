"""Write what is installed in this environment as a bill of materials (CycloneDX 1.6, JSON): versions, licences, hashes of the records.

    python infra/security/bom.py --output bom.json

In an image it runs with the image's own Python, so it lists what is there and not what was meant to be.
"""

import argparse
import hashlib
import json
import re
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

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


def bill() -> dict[str, Any]:
    """The whole document. The same environment gives the same one."""
    found = components()
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
    output = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(bill(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
