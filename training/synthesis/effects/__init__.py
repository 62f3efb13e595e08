"""What changes a volume on its way from anatomy to CT, one concept a file.

Ranges and probabilities are chosen by hand, not fitted: physiological values widened on purpose, so that real scans are
within what a network has seen (domain randomization; Billot et al., SynthSeg, Medical Image Analysis 2023).
"""
