"""Every recorded frame is read, and what Apache wrote is written again to the same bytes.

An original is canonical when Apache wrote it. Not canonical are the requests of the hand-made client that
recorded errors-* and extras-* (its JSON has keys in another order, its binary headers have empty values, and
a few of its frames are broken on purpose), and frames of which the recording keeps only the beginning.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rocketmq_tx.errors import FrameError
from rocketmq_tx.protocol.codes import LanguageCode, SerializeType, version_name
from rocketmq_tx.protocol.decoder import FrameDecoder
from rocketmq_tx.protocol.frame_codec import decode_frame, encode_frame
from tests import golden

#: How many of all recorded frames are of which kind. A change here needs a reason.
EXPECTED = Counter(canonical=7062, other=370, broken=16, shortened=41)

BROKEN_ON_PURPOSE = {
    "raw: header length larger than frame",
    "raw: not json header",
    "raw: serialize type 7",
    "raw: frame length 20 MiB",
    "raw: negative frame length",
    "raw: http request",
    "raw: TLS hello first byte 0x16",
}


def recorded_frames() -> Iterator[tuple[str, dict[str, Any], bytes]]:
    """Name of the case or file, the frame's description, its bytes; replication has its own protocol."""
    for name in golden.names("frames/"):
        if "ha-replication" in name:
            continue
        for line in golden.lines(name):
            for frame in frames_in(line):
                yield line.get("case", name), frame, base64.b64decode(frame["raw"])


def frames_in(value: Any) -> Iterator[dict[str, Any]]:
    """The frame descriptions anywhere inside a line of a recording."""
    if isinstance(value, dict):
        if "raw" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from frames_in(part)


class RecordedFrames(SynchronousTestCase):
    def test_all_are_read_and_canonical_ones_written_to_the_same_bytes(self) -> None:
        kinds: Counter[str] = Counter()
        for case, description, raw in recorded_frames():
            if "rawTruncatedTo" in description:
                kinds["shortened"] += 1
            elif case in BROKEN_ON_PURPOSE:
                with self.assertRaises(FrameError):
                    FrameDecoder().feed(raw)
                kinds["broken"] += 1
            else:
                frames = [frame for _, items in FrameDecoder().feed(raw) for frame in items]
                written = b"".join(map(encode_frame, frames))
                if written == raw:
                    kinds["canonical"] += 1
                else:
                    self.assertNotIn("dir", description, f"captured from Apache in {case}")
                    again = [frame for _, items in FrameDecoder().feed(written) for frame in items]
                    self.assertEqual(again, frames)
                    kinds["other"] += 1
        self.assertEqual(kinds, EXPECTED)

    def test_values_are_those_of_the_description(self) -> None:
        for case, description, raw in recorded_frames():
            if "code" not in description or "rawTruncatedTo" in description or description["type"] == "raw":
                continue
            frame = decode_frame(raw[4:])
            self.assertEqual(
                (frame.code, frame.opaque, frame.flag, frame.version, frame.serialize.name, frame.remark),
                tuple(
                    description[key] for key in ("code", "opaque", "flag", "version", "serialize", "remark")
                ),
                case,
            )
            if "extFieldsAbbreviated" not in description:
                given = description["extFields"]
                if frame.serialize == SerializeType.ROCKETMQ and given is not None:
                    given = {key: value for key, value in given.items() if value} or None
                self.assertEqual(frame.ext_fields, given, case)


class EncoderOutput(SynchronousTestCase):
    """client/remoting_frames: what Apache's encoder makes of frames of given values."""

    def test_frames_come_out_to_the_same_bytes(self) -> None:
        for line in golden.lines("client/remoting_frames.jsonl"):
            if "frame" not in line:
                continue
            raw = base64.b64decode(line["frame"])
            frame = decode_frame(raw[4:])
            if "" in (line["extFields"] or {}).values() and frame.serialize == SerializeType.ROCKETMQ:
                # The one exception: an empty value, which is read as null, by Apache too, and not written.
                self.assertNotEqual(encode_frame(frame), raw)
            else:
                self.assertEqual(encode_frame(frame), raw)
            self.assertEqual(frame.language, LanguageCode[line["language"]])
            self.assertEqual(frame.body, b"" if line["body"] is None else base64.b64decode(line["body"]))

    def test_a_head_that_repeats_its_fields_is_read_all_the_same(self) -> None:
        """Apache's encoder of heads writes the fields of a fast codec twice when they are extFields, too."""
        for line in golden.lines("client/remoting_frames.jsonl"):
            if "fastEncodeHeader" in line:
                frame = decode_frame(base64.b64decode(line["frame"])[4:])
                head = decode_frame(base64.b64decode(line["fastEncodeHeader"])[4:])
                self.assertEqual((head.code, head.ext_fields), (frame.code, frame.ext_fields))

    def test_versions_have_the_names_that_apache_gives_them(self) -> None:
        [versions] = [
            line["versions"] for line in golden.lines("client/remoting_frames.jsonl") if "versions" in line
        ]
        for name, version in versions.items():
            self.assertEqual(version_name(version), name)
