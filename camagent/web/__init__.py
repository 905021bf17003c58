"""The local HTTP API: routes in app.py, who may ask what in guard.py, uploads in upload.py, sockets in connections.py.

Nothing here knows how a bundle is verified: it speaks to a `Service`, as the control socket does.
"""

from camagent.web.address import Listen, problem
from camagent.web.server import Server

__all__ = ["Listen", "Server", "problem"]
