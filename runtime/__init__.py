"""Engine and frames to masks: the light base of refinenet-deploy.

    from runtime import Segmenter
"""
