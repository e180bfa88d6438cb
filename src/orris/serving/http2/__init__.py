"""How do HTTP/2's bytes arrive and leave? Frames, headers, streams and connections; gRPC is spoken on them."""
