"""The hard cases one by one: CT without contrast, effusions, large spleens, chests without a liver and others."""
