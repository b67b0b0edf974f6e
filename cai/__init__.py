"""cai: Constitutional AI and RLAIF, from a list of principles to an aligned model.

The steps, in the order in which ``cai run`` walks them, are listed in ``pipeline/order.py``.
"""

__version__ = "0.1.0"
