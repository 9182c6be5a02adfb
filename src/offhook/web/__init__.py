"""Pieces that everything answering HTTP shares."""
