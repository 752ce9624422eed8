"""Example configurations of the three scenarios, and sample data to run them on."""
