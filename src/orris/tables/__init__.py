"""Tables: files and DataFrames read into plain columns, and the kinds of text columns."""
