"""From a published version to an environment that runs it.

``cli`` hands in what it needs of the store, as plain values.
"""
