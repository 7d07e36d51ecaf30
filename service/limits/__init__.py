"""How much is let in: who waits too long, who comes too often, and how much memory is left. Arithmetic without gRPC."""
