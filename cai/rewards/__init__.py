"""What reinforcement learning maximises: one protocol, whether a model, a judge or a function speaks."""
