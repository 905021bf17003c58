"""Other people's systems and protocols. Each gets what it needs as arguments, and is imported where it is used."""
