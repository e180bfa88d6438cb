"""The request path: engine, batches, catalog, predict routes, and the HTTP server around them."""
