"""DICOM: series of images as volumes; SEG and RTSTRUCT as named masks, read and written."""
