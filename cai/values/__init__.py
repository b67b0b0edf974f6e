"""The nouns and the words that every room shares. Imports nothing of cai."""
