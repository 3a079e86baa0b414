"""What a training is made of; train.py puts it together."""
