"""Several processes that serve at one port, and the one that starts, watches and ends them."""
