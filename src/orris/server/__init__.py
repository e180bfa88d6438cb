"""Puts a server together from its settings, and starts it; ``orris serve`` and ``orris.serve`` call it."""
