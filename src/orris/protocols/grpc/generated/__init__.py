"""Messages, made from the ``.proto`` files by ``python -m tools.proto``, and the pool that they are registered in."""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
"""Ours alone: other libraries register messages of the same names in protobuf's default pool."""
