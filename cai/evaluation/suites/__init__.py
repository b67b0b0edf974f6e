"""One file per suite: what is asked of the models, who grades it, which figures come of it."""
