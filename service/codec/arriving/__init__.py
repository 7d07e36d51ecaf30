"""What callers bring to be written: geometries and values for a layer's columns, edits, imports and deletions."""
