"""Requests that are sent together and answered within a day, at half the price."""
