"""What a handler can ask of its conversation: the state that it keeps there."""
