"""An agent for IP cameras: RTSP in, detections out over MQTT, and a reason whenever there are none."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("camagent")
except PackageNotFoundError:  # a checkout on the path that nobody installed
    __version__ = "0.0.0+uninstalled"

__all__ = ["__version__"]
