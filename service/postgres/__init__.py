"""The system's PostgreSQL, run privately: `service.embedded` puts these parts together."""
