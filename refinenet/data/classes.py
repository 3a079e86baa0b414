"""Class names and colours of the datasets, in the order and spelling of their official lists.

Where a dataset has no colours of its own, VOC's are used, which runtime.card_format has for any
number.
"""

from __future__ import annotations

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255
Palette = tuple[Colour, ...]


def _names(text: str) -> tuple[str, ...]:
    return tuple(" ".join(name.split()) for name in text.split(","))


def _colours(text: str) -> Palette:
    """Colours from rrggbb words."""
    channels = (bytes.fromhex(word) for word in text.split())
    return tuple((red, green, blue) for red, green, blue in channels)


CAMVID_CLASSES = _names("""
    sky, building, pole, road, pavement, tree, sign_symbol, fence, car, pedestrian, bicyclist
""")
CAMVID_PALETTE = _colours("""
    808080 800000 c0c080 804080 3c28de 808000 c08080 404080 400080 404000 0080c0
""")

VOC_CLASSES = _names("""
    background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable,
    dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor
""")

# cityscapesScripts, helpers/labels.py: names, colours and ids.
CITYSCAPES_CLASSES = _names("""
    road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation,
    terrain, sky, person, rider, car, truck, bus, train, motorcycle, bicycle
""")
CITYSCAPES_PALETTE = _colours("""
    804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c
    ff0000 00008e 000046 003c64 005064 0000e6 770b20
""")
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

# MIT scene parsing benchmark, objectInfo150.txt: the first of each class's names.
ADE20K_CLASSES = _names("""
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk,
    person, earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa,
    shelf, house, sea, mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp,
    bathtub, railing, cushion, base, box, column, signboard, chest of drawers, counter, sand,
    sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool
    table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet,
    flower, book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair,
    boat, bar, arcade machine, hovel, bus, towel, light, truck, tower, chandelier, awning,
    streetlight, booth, television, airplane, dirt track, apparel, pole, land, bannister,
    escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt,
    canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag,
    minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle,
    lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray,
    ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass,
    clock, flag
""")
ADE20K_PALETTE = _colours("""
    787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07
    96053d 787846 08ff33 ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff
    ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff 08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff
    e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff
    8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff
    0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00
    0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014
    ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff
    00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff
    ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3
    ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00 00ccff 1400ff
    ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff
    b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
""")

# Gupta et al. 2013, classMapping40, with its spelling.
NYUDV2_CLASSES = _names("""
    wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter,
    blinds, desk, shelves, curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, books,
    refridgerator, television, paper, towel, shower curtain, box, whiteboard, person, night
    stand, toilet, sink, lamp, bathtub, bag, otherstructure, otherfurniture, otherprop
""")

# SUNRGBDtoolbox, seg37list.mat.
SUN_RGBD_CLASSES = _names("""
    wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter,
    blinds, desk, shelves, curtain, dresser, pillow, mirror, floor_mat, clothes, ceiling, books,
    fridge, tv, paper, towel, shower_curtain, box, whiteboard, person, night_stand, toilet,
    sink, lamp, bathtub, bag
""")

# 59_labels.txt: VOC's twenty first, unlike converters that sort the names.
PASCAL_CONTEXT_CLASSES = _names("""
    aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, table, dog, horse,
    motorbike, person, pottedplant, sheep, sofa, train, tvmonitor, bag, bed, bench, book,
    building, cabinet, ceiling, cloth, computer, cup, door, fence, floor, flower, food, grass,
    ground, keyboard, light, mountain, mouse, curtain, platform, sign, plate, road, rock,
    shelves, sidewalk, sky, snow, bedclothes, track, tree, truck, wall, water, window, wood
""")

# Chen et al. 2014.
PERSON_PART_CLASSES = _names("""
    background, head, torso, upper arms, lower arms, upper legs, lower legs
""")
