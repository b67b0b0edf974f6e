"""One HTML file that says what a run did, what got better or worse, and how sure that is."""
