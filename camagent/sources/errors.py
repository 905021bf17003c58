"""Why a source gives no frames. `reason` is the id under which `health` shows it."""

from __future__ import annotations

from camagent.errors import SourceError, StreamStalled, StreamUnreachable


class StreamDown(StreamUnreachable):
    """Nobody answers: refused, timed out, no route, no such host."""


class StreamRefused(StreamUnreachable):
    """The server answers and will not serve: 401, 404, 453, or nothing that is RTSP."""


class TransportRefused(StreamRefused):
    """The server does not offer this transport (461)."""

    code = "TRANSPORT_MISMATCH"
    reason = "transport-mismatch"


class StreamClientLimit(SourceError):
    """The server speaks RTSP and sends no media: the sign of one client too many."""

    code = "STREAM_CLIENT_LIMIT"
    reason = "stream-client-limit"


class StreamEnded(SourceError):
    """The server ended the session."""

    code = "STREAM_ENDED"
    reason = "stream-ended"


class NoFrames(SourceError):
    """Packets come and no picture comes out of them."""

    code = "STREAM_NO_FRAMES"
    reason = "no-frames"


class DecoderUnusable(SourceError):
    """The stream's codec and the decoder that is wanted for it do not come together here."""

    code = "DECODER_UNUSABLE"


__all__ = [
    "DecoderUnusable",
    "NoFrames",
    "SourceError",
    "StreamClientLimit",
    "StreamDown",
    "StreamEnded",
    "StreamRefused",
    "StreamStalled",
    "StreamUnreachable",
    "TransportRefused",
]
