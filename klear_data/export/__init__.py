"""Training data for other people's trainers: verl and TRL."""
