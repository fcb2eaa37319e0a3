"""Rules of the tree that the linters cannot say."""
