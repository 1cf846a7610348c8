"""The sources of one running thing, one after the other, and what became of them."""
