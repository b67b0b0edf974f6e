"""Training: supervised fine-tuning on revisions and DPO on soft labels, through TRL's trainers.

``sft.train_sft`` and ``dpo.train_dpo`` are the two entry points. Importing this package, ``result``,
``examples`` or ``updates.schedule`` does not load torch; TRL is imported when a training starts.
"""
