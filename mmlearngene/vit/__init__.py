"""What a Vision Transformer is: spec, table of tensors, weights, and their adaption to another spec."""
