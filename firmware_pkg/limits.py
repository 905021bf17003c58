"""Every untrusted size in one place. A number here is a promise that nothing larger is ever read into memory or onto disk."""

MIB = 1024 * 1024

MANIFEST_BYTES = 1 * MIB
BUNDLE_BYTES = 1024 * MIB
MEMBER_BYTES = 512 * MIB
MEMBERS = 256
SIGNATURES = 16
SIGNATURE_BYTES = 1 * MIB
PATH_CHARS = 200
LABELS = 10_000
LABEL_CHARS = 64
PICTURE_BYTES = 20 * MIB
PICTURE_PIXELS = 40_000_000
NETWORK_SIDE = 4096  # pixels of a network input's longer side
