"""A gRPC spatial microservice over PostGIS. docs/architecture.md says how it is put together and why."""

__version__ = "0.1.0"
