"""What is recorded: tensors, the memory they share, the recorder, graphs."""
