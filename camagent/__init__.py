"""An agent for IP cameras: RTSP in, detections out over MQTT, and a reason whenever there are none."""

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("camagent")
except PackageNotFoundError:  # a checkout on the path that nobody installed
    __version__ = "0.0.0+uninstalled"

# No clock that shows less can be right. Set at every release; a bundle's expiry is never judged before it.
BUILD_TIME = datetime(2026, 11, 23, tzinfo=UTC)

__all__ = ["BUILD_TIME", "__version__"]
