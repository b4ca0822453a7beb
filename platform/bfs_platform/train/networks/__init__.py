"""The networks that are trained: each says what is trainable, what one batch is, and what is written at the end."""
