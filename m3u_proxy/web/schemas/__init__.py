"""Bodies, queries and answers of REST as typed models."""
