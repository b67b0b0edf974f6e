"""Formats in which a row, or several, put more than two answers in an order, or score them."""
