"""What each part of the technique is worth: one change at a time, on next items of a log that nothing has seen."""
