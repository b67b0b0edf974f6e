"""Reinforcement learning from any reward: PPO of our own, GRPO and RLOO through TRL."""
