"""XMP: the metadata that image editors keep. Tells people what a picture is, and carries the manifest inside a PSD.

Only namespaces that every reader knows are used: GIMP shows a warning for each unknown one when the file is opened.
"""

from collections.abc import Mapping
from html import escape
from typing import Any
from xml.etree import ElementTree

from bfs_model.document.format.manifest import FORMAT

# IPTC's word for a photograph with parts made by a trained model.
_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMP_DM = "http://ns.adobe.com/xmp/1.0/DynamicMedia/"
_COMMENT = f"{{{_XMP_DM}}}logComment"


def packet(manifest: Mapping[str, Any], text: str | None = None) -> str:
    """An XMP packet for a document: the program, the prompts, that parts of it are generated, and the manifest's `text`."""
    generated = [layer for layer in manifest["layers"] if layer["model"] is not None or layer["prompt"] is not None]
    properties = [f"<xmp:CreatorTool>{escape(manifest['written_by'], quote=False)}</xmp:CreatorTool>"]
    if generated:
        prompts = "; ".join(layer["prompt"] for layer in generated if layer["prompt"])
        properties.append(f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{_text(prompts)}</rdf:li></rdf:Alt></dc:description>')
        properties.append(f"<Iptc4xmpExt:DigitalSourceType>{_SOURCE}</Iptc4xmpExt:DigitalSourceType>")
    if text is not None:
        properties.append(f"<xmpDM:logComment>{_text(text)}</xmpDM:logComment>")
    spaces = {
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "dc": "http://purl.org/dc/elements/1.1/",
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "xmpDM": _XMP_DM,
    }
    declared = " ".join(f'xmlns:{prefix}="{escape(uri)}"' for prefix, uri in spaces.items())
    description = f'<rdf:Description rdf:about="" {declared}>{"".join(properties)}</rdf:Description>'
    body = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">{description}</rdf:RDF></x:xmpmeta>'
    return f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{body}<?xpacket end="w"?>'


def manifest_text(data: bytes) -> str | None:
    """The manifest's text inside an XMP packet, also after another program has rewritten the packet; None without one."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        return None
    try:
        root = ElementTree.fromstring(data.strip(b"\0 \r\n"))
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    found = [node.text or "" for node in root.iter(_COMMENT)]
    found += [node.attrib[_COMMENT] for node in root.iter() if _COMMENT in node.attrib]
    return next((text for text in found if FORMAT in text), None)


def _text(value: str) -> str:
    """XML text; characters that XML cannot hold become spaces."""
    return escape("".join(c if c >= " " and c not in "\ufffe\uffff" else " " for c in value), quote=False)
