"""Is it theirs, unchanged? Keys, signatures over a folder, and the trust root. Knows nothing of models, cameras or networks."""

from signing.errors import CodedError, printable

__all__ = ["CodedError", "printable"]
