"""What the flex template is launched by."""
