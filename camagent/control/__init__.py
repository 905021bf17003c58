"""The control socket: how a command line asks the agent that owns a state directory, and how it finds it.

Unix stream socket `control.sock` in the run folder; whoever may open it may change what runs. One request per connection, one
JSON line; the answer is JSON lines, the last of them `{"result": {..}}` or `{"refusal": {..}}`.
"""

from camagent.control.client import Client, connect, with_agent_or_alone
from camagent.control.protocol import SOCKET_NAME, TrustBody, read_trust_body
from camagent.control.server import ControlServer

__all__ = ["SOCKET_NAME", "Client", "ControlServer", "TrustBody", "connect", "read_trust_body", "with_agent_or_alone"]
