"""Tests of clients that others' generators make from the OpenAPI document, against a real server."""
