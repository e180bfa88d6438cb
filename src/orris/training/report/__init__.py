"""The report of a version: documents, plots, and the words that explain them."""
