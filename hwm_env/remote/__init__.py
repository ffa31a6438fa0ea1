"""What a world-model service and its clients say to each other, and the client. Needs no extra."""
