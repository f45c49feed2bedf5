"""Models of one's own, as IMAGE_MODEL takes them: to be copied."""
