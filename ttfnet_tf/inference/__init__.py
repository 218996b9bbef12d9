"""Detection with a trained run or an exported model."""
