"""What a liver segment is called, how it is colored and which SNOMED CT code it carries."""

SEGMENT_NAME = "liver"
SEGMENT_COLOR = (221 / 255, 130 / 255, 101 / 255)
TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)
"""Category, type, modifier and region as Slicer serializes them; set as text, it needs no terminology file."""

INTENDED_USE = (
    "For research only; not a medical device. The mask holds the liver with its lesions and the vessels inside it; "
    "inferior vena cava, gallbladder and the portal vein outside the liver are left out."
)
