"""HTTP: sockets, connections, the ASGI application, and what every answer carries."""
