"""Owns the list of classes that CropShield tells apart, in the order of the network's outputs.

The order is part of every model file; changing it makes a new model. Does not read photos.
"""

CLASSES = [
    "Potato__early_blight",
    "Potato__healthy",
    "Potato__late_blight",
    "Sugarcane__bacterial_blight",
    "Sugarcane__healthy",
    "Sugarcane__red_rot",
    "Sugarcane__red_stripe",
    "Sugarcane__rust",
    "Tomato__bacterial_spot",
    "Tomato__early_blight",
    "Tomato__healthy",
    "Tomato__late_blight",
    "Tomato__leaf_mold",
    "Tomato__mosaic_virus",
    "Tomato__septoria_leaf_spot",
    "Tomato__spider_mites_(two_spotted_spider_mite)",
    "Tomato__target_spot",
    "Tomato__yellow_leaf_curl_virus",
    "Wheat__brown_rust",
    "Wheat__healthy",
    "Wheat__septoria",
    "Wheat__yellow_rust",
]

CROPS = sorted({name.split("__")[0] for name in CLASSES})
CROP_OF = [CROPS.index(name.split("__")[0]) for name in CLASSES]
HEALTHY = [name.endswith("__healthy") for name in CLASSES]

# No source with a usable licence had photos of it. The output stays, so that a later model can fill it without a new
# class list; until then its weights are zero and its bias is far below every other output.
UNTESTED = ["Sugarcane__red_stripe"]
UNTESTED_BIAS = -30.0
