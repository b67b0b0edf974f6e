"""Drawing from a policy while it is being trained."""
