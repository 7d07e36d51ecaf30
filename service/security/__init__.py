"""Who may call, and over what kind of connection. Knows no RPC but by name, and of gRPC only its credentials."""
