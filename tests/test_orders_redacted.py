"""What an unusable `commands.bundle_from` says of itself: the address, and never the password in it."""

from __future__ import annotations

import msgspec
import pytest

from camagent.config import Config
from camagent.errors import ConfigError
from camagent.orders import prefixes

LEAKY = ("https://updates.example/models/?token=hunter2", "https://fleet:hunter2@updates.example/models/")


@pytest.mark.parametrize("entry", LEAKY)
def test_credentials_of_an_order_address_are_not_told(entry: str) -> None:
    config = msgspec.convert({"commands": {"bundle_from": [entry]}}, Config)
    with pytest.raises(ConfigError) as told:
        prefixes(config)
    assert "hunter2" not in str(told.value.report())
    assert "updates.example" in str(told.value.report())
