"""Recipes: from pictures to a bundle. They stand above camagent and are not installed with it; the extra is `train`."""
