"""DICOM: from files to one CT, and a mask back as a DICOM segmentation."""
