"""Each stage over a run folder: read a table, run the stage on every row, write a table.

``order.py`` puts the steps in order; each is also a command of its own. What a stage does with *one*
item is in ``stages/``; how a model is trained is in ``training/``.
"""
