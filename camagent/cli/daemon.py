"""camagent run: the daemon."""

from __future__ import annotations

import faulthandler
import logging
import signal
from pathlib import Path
from types import FrameType

import click

from camagent import config_file, failed_start
from camagent.cli.options import config_option, trace_option
from camagent.errors import CodedError, printable


@click.command(epilog="Example: camagent run -c /etc/camagent/camagent.toml")
@config_option
@trace_option
@click.option("-v", "--verbose", is_flag=True, help="Log details.")
def command(path: Path, trace_path: Path | None, verbose: bool) -> None:
    """Run the agent until SIGTERM. SIGHUP reads the configuration again; a bad file leaves the old one in force."""
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format="%(levelname)s %(message)s")
    faulthandler.enable()  # where every thread was, when the watchdog or a vendor's library ends the process
    try:
        _run(path, trace_path)
    except CodedError as exc:
        failed_start.hold_back(path, printable(f"{exc.code}: {exc.what}"))
        raise


def _run(path: Path, trace_path: Path | None) -> None:
    loaded = config_file.load(path)
    from camagent.cli.serve import Servers, require_web
    from camagent.pipeline import Agent
    from camagent.trace import Trace

    require_web(loaded.config)
    trace = Trace(trace_path) if trace_path else None
    agent = Agent(loaded, trace=trace)
    servers = Servers(agent)

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        agent.request_stop()

    def reload(number: int, frame: FrameType | None) -> None:
        del number, frame
        agent.request_reload()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, reload)
    servers.start()
    try:
        agent.run()
    finally:
        servers.stop()
        agent.owner.release()  # also where nothing was started: a command may then write in its place
        if trace:
            trace.close()
