"""The steps: each reads a table of the run folder, runs a stage on every row, and writes a table.

``order.py`` puts the steps in order; each is also a command of its own. What a stage does with *one*
item is in ``stages/``; how a model is trained is in ``training/``.
"""
