"""Every refusal of this package: one class per code, and its place in the order in which refusals speak.

Refused
+-- container   UnsafePath, SizeLimit
+-- signature   SignatureMissing, SignatureFormat, FormatUnsupported, SignatureEncoding, SignerRevoked, UntrustedSigner,
|               SignatureInvalid, ThresholdNotMet
+-- content     FileMissing, ExtraFile, LineEndingsChanged, PayloadDigestMismatch
+-- trust       TrustMissing, TrustRotation, TrustExpired, ClockUntrusted
+-- keys        KeyTypeUnsupported, KeyPassphrase, KeyUnavailable
"""

from __future__ import annotations

from collections.abc import Sequence

from signing.errors import CodedError


class Refused(CodedError):
    """Root of every refusal of a signature, a signed file, a trust root or a key."""

    code = "REFUSED"


class UnsafePath(Refused):
    """A file name or file type that is never allowed: absolute, `..`, a link, a device, no UTF-8."""

    code = "UNSAFE_PATH"


class SizeLimit(Refused):
    """Something is larger, longer or more than is ever read."""

    code = "SIZE_LIMIT"


class SignatureMissing(Refused):
    """There is no signature at all."""

    code = "SIGNATURE_MISSING"


class SignatureFormat(Refused):
    """The file is no OpenSSF Model Signing document, or contradicts itself."""

    code = "SIGNATURE_FORMAT"


class FormatUnsupported(Refused):
    """A signature of a version or method that is unknown here."""

    code = "FORMAT_UNSUPPORTED"


class SignatureEncoding(Refused):
    """Base64 or DER where the bytes are neither."""

    code = "SIGNATURE_ENCODING"


class SignerRevoked(Refused):
    """The signer was trusted by an older root and is not any more."""

    code = "SIGNER_REVOKED"


class UntrustedSigner(Refused):
    """No trusted key is among the signers."""

    code = "UNTRUSTED_SIGNER"


class SignatureInvalid(Refused):
    """The signature value does not fit what it is said to sign."""

    code = "SIGNATURE_INVALID"


class ThresholdNotMet(Refused):
    """At least one good signature, but fewer than the trust root asks for."""

    code = "THRESHOLD_NOT_MET"


class FileMissing(Refused):
    """A signed file is not there."""

    code = "FILE_MISSING"


class ExtraFile(Refused):
    """A file is there that nobody signed."""

    code = "EXTRA_FILE"


class LineEndingsChanged(Refused):
    """A text file differs from the signed one in its line endings alone."""

    code = "LINE_ENDINGS_CHANGED"


class PayloadDigestMismatch(Refused):
    """A file is not the one that was signed."""

    code = "PAYLOAD_DIGEST_MISMATCH"


class TrustMissing(Refused):
    """There is no trust root, or the file holds none that can be used."""

    code = "TRUST_MISSING"


class TrustRotation(Refused):
    """A root may not take the place it is offered for: its number, or who signed it."""

    code = "TRUST_ROTATION"


class TrustExpired(Refused):
    """The trust root in force has expired."""

    code = "TRUST_EXPIRED"


class ClockUntrusted(Refused):
    """The clock cannot be believed, so a date cannot be judged."""

    code = "CLOCK_UNTRUSTED"


class KeyTypeUnsupported(Refused):
    """A key of another kind than the one needed here."""

    code = "KEY_TYPE_UNSUPPORTED"


class KeyPassphrase(Refused):
    """The passphrase or PIN that was given does not open this key."""

    code = "KEY_PASSPHRASE"


class KeyUnavailable(Refused):
    """A key file or token cannot be used at all: not there, not readable, already there, its software missing."""

    code = "KEY_UNAVAILABLE"


# DESIGN section 7: where several fit, the first of these speaks
PRECEDENCE: tuple[type[Refused], ...] = (
    UnsafePath, SizeLimit,
    SignatureMissing, SignatureFormat, FormatUnsupported, SignatureEncoding, SignerRevoked, UntrustedSigner, SignatureInvalid,
    ThresholdNotMet, FileMissing, ExtraFile, LineEndingsChanged, PayloadDigestMismatch,
)  # fmt: skip


def first_to_speak(refusals: Sequence[Refused]) -> Refused:
    """The refusal that DESIGN's order puts first; among equals the one that came first."""
    return min(
        refusals, key=lambda refusal: PRECEDENCE.index(type(refusal)) if type(refusal) in PRECEDENCE else len(PRECEDENCE)
    )
