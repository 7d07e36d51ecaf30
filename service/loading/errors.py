class LoadError(Exception):
    """Why nothing, or nothing more, can be loaded; for people."""
