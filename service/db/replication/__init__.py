"""Several servers of one database: the primary, replicas that may be read, and which of them a call goes to."""
