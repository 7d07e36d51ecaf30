"""Everything that speaks SQL. Nothing here knows of gRPC."""
