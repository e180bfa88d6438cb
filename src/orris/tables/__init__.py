"""Tables: files and DataFrames read into plain columns, and what a column of text is."""
