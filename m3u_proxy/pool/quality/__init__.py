"""Whether what a live source gives is good enough, and what follows if it is not."""
