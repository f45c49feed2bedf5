"""siliconbench: which machine should run my PyTorch image model, and is mine running as it should?"""
