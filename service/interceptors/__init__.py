"""What happens around every call, one concern a file; `server.py` says in which order, and why."""
