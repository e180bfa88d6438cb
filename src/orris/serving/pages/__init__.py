"""What people and tools read: playground, model card, OpenAPI, drift."""
