"""Moves a published version to an environment that runs it.

``cli`` reads the store, and passes plain values in.
"""
