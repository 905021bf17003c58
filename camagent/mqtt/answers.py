"""What a broker's answer means: to CONNECT, and at the end of a connection."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Literal, TypeAlias

from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from camagent.errors import printable
from camagent.mqtt.wire import AUTH_REFUSED, MQTT_UNREACHABLE, Endpoint, LinkError, Wire, explain

Version: TypeAlias = Literal["5", "3.1.1"]
FAILURE = 0x80  # every reason code from here on says no
CLIENT_ID_CLASH = "mqtt-client-id-clash"
_TAKEN_OVER = 0x8E
_UNSUPPORTED_VERSION = 0x84
_WRONG_CREDENTIALS = {0x86, 0x87, 0x8A, 0x8C}  # bad user or password, not authorized, banned, bad authentication method
_V311_REFUSES_VERSION = b"\x20\x02\x00\x01"  # paho does not report this CONNACK
_HUNG_UP = {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED}


class VersionRefused(LinkError):
    """The broker does not speak this version of MQTT."""


class ClosedEarly(LinkError):
    """The broker closed the connection before it answered CONNECT, or has not answered in time."""


@dataclass(frozen=True, slots=True)
class End:
    """Why a connection is over."""

    by_broker: bool  # it hung up; False: we did, or the network between
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What the broker granted in CONNACK."""

    receive_maximum: int = 65535
    maximum_packet: int = 268_435_460  # the largest that MQTT can say
    retain: bool = True


def words(reason: ReasonCode, properties: Properties | None) -> str:
    """A reason code and the broker's own words, safe to print."""
    own = getattr(properties, "ReasonString", None)
    return printable(reason) if own is None else f"{printable(reason)}: {printable(own)}"


def terms(endpoint: Endpoint, version: Version, reason: ReasonCode, properties: Properties | None) -> Terms:
    """What a CONNACK grants.

    Raises:
        LinkError: the broker says no.
    """
    if reason.value >= FAILURE:
        raise _refused(endpoint, version, reason, properties)
    if getattr(properties, "MaximumQoS", 2) < 1:
        raise LinkError(
            f"{endpoint} offers QoS 0 only, and nothing could be acknowledged",
            state="refused",
            fix="use a broker that supports QoS 1",
        )
    default = Terms()
    return Terms(
        getattr(properties, "ReceiveMaximum", default.receive_maximum),
        getattr(properties, "MaximumPacketSize", default.maximum_packet),
        bool(getattr(properties, "RetainAvailable", 1)),
    )


def _refused(endpoint: Endpoint, version: Version, reason: ReasonCode, properties: Properties | None) -> LinkError:
    said = words(reason, properties)
    if reason.value == _UNSUPPORTED_VERSION:
        return _no_version(endpoint, version)
    if reason.value in _WRONG_CREDENTIALS:
        return LinkError(
            f"{endpoint} refuses us: {said}",
            state="refused",
            reason=AUTH_REFUSED,
            fix="check mqtt.username, mqtt.password_file and the broker's list of users",
        )
    return LinkError(f"{endpoint} refuses us: {said}", state="refused", fix="look into the broker's log")


def _no_version(endpoint: Endpoint, version: Version) -> LinkError:
    return VersionRefused(
        f"{endpoint} does not support MQTT {version}", state="refused", fix="use a broker that speaks MQTT 3.1.1 or 5"
    )


def unanswered(endpoint: Endpoint, version: Version, wire: Wire | None) -> LinkError:
    """The connection ended and paho has seen no CONNACK."""
    if wire is not None and wire.head == _V311_REFUSES_VERSION:
        return _no_version(endpoint, version)
    if wire is not None and wire.error is not None:
        known = explain(endpoint, wire.error)
        if known.reason != MQTT_UNREACHABLE:  # TLS 1.3: the broker judges our certificate after the handshake
            return known
    return ClosedEarly(
        f"{endpoint} closed the connection without an answer to CONNECT (MQTT {version})",
        fix="look into the broker's log: it says why",
    )


def silent(endpoint: Endpoint) -> LinkError:
    """The connection stands and nothing comes: so do brokers that take the properties of MQTT 5 for the length of a name."""
    return ClosedEarly(f"{endpoint} accepts connections and does not answer", fix="is it an MQTT broker, and is it alive?")


def end_by_packet(endpoint: Endpoint, reason: ReasonCode, properties: Properties | None) -> End:
    """The broker has sent DISCONNECT."""
    code = CLIENT_ID_CLASH if reason.value == _TAKEN_OVER else MQTT_UNREACHABLE
    return End(by_broker=True, code=code, detail=f"{endpoint} ended the connection: {words(reason, properties)}")


def end_of_wire(endpoint: Endpoint, wire: Wire | None) -> End:
    """The connection ended without a word of MQTT."""
    error = None if wire is None else wire.error
    if error is None:
        return End(by_broker=True, code=MQTT_UNREACHABLE, detail=f"{endpoint} closed the connection")
    detail = f"the connection to {endpoint} broke: {printable(error.strerror or error)}"
    return End(by_broker=error.errno in _HUNG_UP, code=MQTT_UNREACHABLE, detail=detail)
