"""EleutherAI's harness over the contestants' checkpoints."""
