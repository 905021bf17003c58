"""The bytes that were verified are the bytes a runtime with a path gets, whoever tries to change them meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from camagent.backends.sealed import sealed_file


def test_a_sealed_file_has_the_bytes_and_cannot_be_changed() -> None:
    model = bytes(range(256)) * 5000
    with sealed_file(model) as path:
        assert Path(path).read_bytes() == model
        with pytest.raises(PermissionError), open(path, "r+b", buffering=0) as file:  # noqa: PTH123  unbuffered
            file.write(b"other")
        with pytest.raises(PermissionError), open(path, "r+b", buffering=0) as file:  # noqa: PTH123
            file.truncate(10)
        assert Path(path).read_bytes() == model
    assert not Path(path).exists() or Path(path).read_bytes() != model
