"""Recipes: from pictures to a signed bundle. They stand above camagent, are not installed with it, and need the extra `recipes`."""
