"""How far people agree with each other, with themselves, and with the AI labels."""
