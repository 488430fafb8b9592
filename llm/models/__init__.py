"""The models: one readable file a family. They need torch, numpy, safetensors and tokenizers alone."""
