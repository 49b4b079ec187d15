"""Messages, their bytes, and the channel that carries them."""
