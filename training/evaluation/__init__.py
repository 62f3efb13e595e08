"""Figures and pictures of students on real CTs."""
