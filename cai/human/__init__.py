"""Human feedback: votes in and out, the voting page, agreement, and how votes join the AI labels."""
