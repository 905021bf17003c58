"""Every untrusted size in one place. A number here is a promise that nothing larger is ever read into memory."""

MIB = 1024 * 1024

SIGNATURES = 16  # .sig files beside one bundle
SIGNATURE_BYTES = 1 * MIB  # one .sig file of a bundle
FOLDER_SIGNATURE_BYTES = 64 * MIB  # one .sig file of a folder: a sharded model of many gigabytes lists many shards
VALUE_BYTES = 1024  # a signature value; P-521 needs 139
NAME_BYTES = 4096  # Linux' PATH_MAX
FOLDER_FILES = 1_000_000
FOLDER_DEPTH = 100
ROOT_BYTES = MIB // 2
ROOT_KEYS = 64
ROOT_CHAIN = 1024  # roots that are followed in one go
KEY_BYTES = 64 * 1024
TEXT_BYTES = 1 * MIB  # files up to here are looked at for changed line endings
