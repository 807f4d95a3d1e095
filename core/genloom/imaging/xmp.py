"""XMP packets: what of a file's own one is carried, and genloom's record within one.

A packet is never parsed into a tree and written anew: other writers' bytes stay as they are, and
the record is put in before the end of their RDF. Nothing that declares a document type is looked at
any further, so no entity is ever expanded.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any
from xml.parsers import expat

MOST = 65_502
"""Most bytes of a packet: what fits into one JPEG segment."""

NAMESPACE = "urn:x-genloom:1/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

_NAME = f"{NAMESPACE} record"
_OWN = re.compile(
    rb'<rdf:Description xmlns:rdf="[^"<]*" rdf:about="" xmlns:genloom="[^"<]*">'
    rb"<genloom:record>[^<]*</genloom:record></rdf:Description>"
    rb"|<genloom:record>[^<]*</genloom:record>"
    rb"|\sgenloom:record\s*=\s*(?:\"[^\"]*\"|'[^']*')"
)
_ORIENTATION = re.compile(rb"(\btiff:Orientation(?:\s*=\s*[\"']|>)\s*)[1-8](?=\s*[\"'<])")
_END = re.compile(rb"</(?:[\w.-]+:)?RDF\s*>")


class _RefusedError(Exception):
    """The packet declares a document type."""


def carried(raw: object) -> bytes | None:
    """A packet as a result may hold it: upright, and without what genloom said of its source.

    Returns:
        its bytes; empty ones when nothing is left of it; None when it is too large, not
        well-formed XML in UTF-8, no RDF, or declares a document type.
    """
    packet = raw.encode("utf-8", "replace") if isinstance(raw, str) else raw
    if not isinstance(packet, bytes) or len(packet) > MOST:
        return None
    packet = _ORIENTATION.sub(rb"\g<1>1", _OWN.sub(b"", packet.strip(b"\0 \t\r\n")))
    if packet == _packet(b""):
        return b""
    return packet if _END.search(packet) and _parsed(packet) is not None else None


def with_record(packet: bytes, record: str) -> bytes | None:
    """A packet, or an empty text for a new one, with genloom's record, a text of ASCII.

    Returns:
        None when it would be too large or the packet has no place for it.
    """
    described = _description(record)
    if not packet:
        merged = _packet(described)
        return merged if len(merged) <= MOST else None
    ends = list(_END.finditer(packet))
    if not ends:
        return None
    merged = packet[: ends[-1].start()] + described + packet[ends[-1].start() :]
    # What looked like the end of their RDF may stand in a comment.
    return merged if len(merged) <= MOST and record_in(merged) == record else None


def record_in(packet: bytes) -> str:
    """The record within a packet; empty when there is none, or the packet is damaged."""
    return _parsed(packet) or ""


def _description(record: str) -> bytes:
    return (
        f'<rdf:Description xmlns:rdf="{RDF}" rdf:about="" xmlns:genloom="{NAMESPACE}">'
        f"<genloom:record>{escape(record, quote=False)}</genloom:record></rdf:Description>"
    ).encode()


def _packet(described: bytes) -> bytes:
    return (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="%b">%b</rdf:RDF></x:xmpmeta>'
        b'<?xpacket end="w"?>'
    ) % (RDF.encode(), described)


def _parsed(packet: bytes) -> str | None:
    """The record within well-formed XML, empty when it has none; None for anything else."""
    found: list[str] = []
    within = False

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal within
        if _NAME in attributes:
            found.append(attributes[_NAME])
        if within := name == _NAME:
            found.append("")

    def end(name: str) -> None:
        nonlocal within
        within = False

    def text(data: str) -> None:
        if within:
            found[-1] += data

    def refuse(*_: Any) -> None:
        raise _RefusedError

    parser = expat.ParserCreate("UTF-8", " ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text
    try:
        parser.Parse(packet, True)
    except (expat.ExpatError, _RefusedError):
        return None
    return found[-1] if found else ""
