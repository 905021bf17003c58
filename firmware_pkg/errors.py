"""Refusals of a bundle. Each code names one thing that is wrong, whatever file or camera it happens on."""

from __future__ import annotations

from signing.errors import CodedError


class BundleRefused(CodedError):
    """Root of every refusal of a bundle."""

    code = "BUNDLE_REFUSED"


class ManifestInvalid(BundleRefused):
    """bundle.json is no manifest, or contradicts itself or the model."""

    code = "MANIFEST_INVALID"


class BundleTruncated(BundleRefused):
    """The tar or a member ends early."""

    code = "BUNDLE_TRUNCATED"


class UnsafePath(BundleRefused):
    """A name or member type that is never allowed in a bundle."""

    code = "UNSAFE_PATH"


class SizeLimit(BundleRefused):
    """Something is larger than a bundle may be."""

    code = "SIZE_LIMIT"


class FileMissing(BundleRefused):
    """A file that the manifest lists is not in the bundle."""

    code = "FILE_MISSING"


class ExtraFile(BundleRefused):
    """A file in the bundle that the manifest does not list."""

    code = "EXTRA_FILE"


class ArtifactTarget(BundleRefused):
    """No artifact of the bundle runs on this machine."""

    code = "ARTIFACT_TARGET"
