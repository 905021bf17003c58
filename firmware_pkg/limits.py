"""Every untrusted size in one place. A number here is a promise that nothing larger is ever read into memory or onto disk."""

MIB = 1024 * 1024

MANIFEST_BYTES = 1 * MIB
BUNDLE_BYTES = 1024 * MIB
MEMBER_BYTES = 512 * MIB
MEMBERS = 256
SIGNATURES = 16
SIGNATURE_BYTES = 1 * MIB
SIGNATURE_AREA_BYTES = 24 * MIB  # all of signatures/ together: it is held in memory until it has been judged
TRAILING_BYTES = 10_240  # zeros behind the end marker: tar fills its last record
PATH_CHARS = 200
VERSION_CHARS = 64
SPECIFIER_CHARS = 200
LABELS = 10_000
LABEL_CHARS = 64
PICTURE_BYTES = 20 * MIB
PICTURE_PIXELS = 40_000_000
NETWORK_SIDE = 4096  # pixels of a network input's longer side
