"""What travels, and where it lands: the bundle's manifest and archive. Knows nothing of pixels or MQTT topics."""
