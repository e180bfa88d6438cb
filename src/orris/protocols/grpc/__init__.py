"""The Open Inference Protocol V2 over gRPC. Imported only by a process that listens for it.

``listener`` listens, beside the HTTP server and on its loop; ``service`` has the calls, ``dialect`` reads and writes
``ModelInfer``'s messages, ``health`` answers probes. ``python -m tools.proto`` makes
``generated`` from the ``.proto`` files.
"""
