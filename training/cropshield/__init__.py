"""CropShield's training side: photos in, a calibrated model file out.

One module a step: prepare, train, evaluate, calibrate, export. Nothing here is needed to run CropShield; the C program
reads only the file that `export` writes.
"""

FORMAT_VERSION = "1"
