"""What commands share that look at a broker: the options, and waiting until it lets us read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from camagent import config_file
from camagent.config import Mqtt
from camagent.errors import BrokerError
from camagent.pipeline import Observer

F = TypeVar("F", bound=Callable[..., Any])
CONNECT_S = 10.0
_POLL_S = 0.2


def broker_options(function: F) -> F:
    """-c, --url, --prefix, --username, --password-file and --ca-file; hand them to `mqtt_of`."""
    path = click.Path(path_type=Path)
    for option in (
        click.option("--ca-file", type=path, help="CA of the broker's certificate."),
        click.option("--password-file", type=path, help="File with the password."),
        click.option("--username", help="Broker user."),
        click.option("--prefix", help="Topic prefix. Default: camagent, or the configuration's."),
        click.option("--url", help="Broker. Default: mqtt://127.0.0.1:1883, or the configuration's."),
        click.option("-c", "--config", "path", type=path, help="Take broker, prefix and login from this file."),
    ):
        function = option(function)
    return function


def mqtt_of(path: Path | None, **changes: object) -> Mqtt:
    """The configuration's broker, or the usual one, with what was said on the command line. Raises ConfigError."""
    mqtt = config_file.load(path).config.mqtt if path else Mqtt()
    return msgspec.structs.replace(mqtt, **{key: value for key, value in changes.items() if value is not None})


def reach(observer: Observer, now: Callable[[], float]) -> None:
    """Waits for the subscription; a broker that turns us away is told at once, not after the whole time.

    Raises BrokerError.
    """
    end = now() + CONNECT_S
    while True:
        try:
            observer.wait_subscribed(_POLL_S)
        except BrokerError:
            if observer.status.code is not None or now() > end:
                raise
        else:
            return
