"""One module per DVC stage: read inputs, call the rooms, write outputs. No science here."""
