class SecurityProblem(Exception):
    """Settings, or files that they name, with which it would not be safe to serve. Never quotes a secret."""
