"""What facts mean: pure functions from facts to findings. The folder of a rule's file says when it is asked (engine.py)."""
