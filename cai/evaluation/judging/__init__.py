"""How a judge is asked: grades, ratings, pairs, labelled files."""
