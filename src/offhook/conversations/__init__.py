"""What a handler can ask of its conversation: what was said, and the state that it keeps there."""
