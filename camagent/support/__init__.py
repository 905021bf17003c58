"""What somebody who helps needs to see of an agent, in one file and without its secrets. `camagent support` writes it."""
