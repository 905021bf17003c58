"""The broker's side of the agent: one network thread, one paho client per connection, nothing lost.

Start reading at client.py. session.py is the thread that connects again and again, link.py one connection (all of paho is
there), sender.py what goes out next, suspects.py which message makes a broker hang up, observer.py a client that only looks.
"""

from camagent.mqtt.client import MqttClient, MqttState
from camagent.mqtt.observer import Observer
from camagent.mqtt.sender import Answer
from camagent.mqtt.suspects import Patience
from camagent.mqtt.wire import Endpoint, LinkError

__all__ = ["Answer", "Endpoint", "LinkError", "MqttClient", "MqttState", "Observer", "Patience"]
