"""siliconbench: which machine should run my PyTorch image model? Here: the door, knobs, paths; all else in its room."""
