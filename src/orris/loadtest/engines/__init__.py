"""Closed loops, driven by the programs that are made for them: Locust for users that think, wrk for connections."""
