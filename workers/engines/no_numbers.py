"""What is said where a model computes no numbers."""

NO_NUMBERS = (
    "the model computes NaN or infinity instead of logits: its weights are damaged, or its numbers grow beyond what "
    "the dtype holds (float16 is the narrowest; try bfloat16 or float32)"
)
NO_NUMBERS_HERE = "the model computes NaN or infinity instead of logits for this request"
