"""The HTTP API: routers, authentication, limits, the error envelope."""
