"""Other people's systems: how what we see is told in their words. Pure: facts come as arguments, messages go out as values."""
