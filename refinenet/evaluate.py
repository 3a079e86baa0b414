import numpy as np, torch
from torch.nn import functional as F
from refinenet.augmentation import to_input
def predict_with(model, frame, device):
    with torch.inference_mode():
        scores = model(to_input(frame)[None].to(device))
        scores = F.interpolate(scores, frame.shape[:2], mode="bilinear")
        return scores.argmax(1)[0].to(torch.uint8).cpu().numpy()
