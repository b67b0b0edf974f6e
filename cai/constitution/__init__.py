"""Principles and the prompts made of them: loading, inheritance, drawing, templates."""
