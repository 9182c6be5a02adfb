"""The supervisor, the processes it starts, and their servers and sockets."""
