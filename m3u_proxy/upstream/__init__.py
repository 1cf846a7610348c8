"""One attempt to read a source, and who may be contacted at all."""
