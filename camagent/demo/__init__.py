"""What `camagent demo` shows: a street that was drawn, a model that knows it, and a dozen ways to see nothing of it."""
