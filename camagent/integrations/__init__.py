"""Other people's protocols: what a fleet is managed with. Each gets what it needs as arguments; imported where it is used."""
