"""Pages for people and tools: the playground, the model card, OpenAPI, drift."""
