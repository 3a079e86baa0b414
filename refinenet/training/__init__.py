"""What a training is made of; refinenet/train.py puts it together."""
