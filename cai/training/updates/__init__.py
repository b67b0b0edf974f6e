"""What SFT, DPO and the reward model share: rows → updates → a finished checkpoint, through TRL."""
