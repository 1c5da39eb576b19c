"""Make the embedded backbones."""
