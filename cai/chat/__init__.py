"""From a conversation to token ids. The one place that knows chat templates."""
